"""The retention rules in `[gc]` of prov.toml."""

from __future__ import annotations

from typing import Any

import pytest

from prov.errors import ProvError
from prov.upkeep.rules import DAY, Rules, rules_from


@pytest.mark.parametrize(
    ("table", "rules", "auto"),
    [
        ({}, Rules(), False),
        ({"auto": True, "builds": 3}, Rules(builds=3), True),
        ({"builds": 0}, Rules(builds=1), False),
        ({"days": 0, "workdirs": 0}, Rules(days=0.0, workdirs=0), False),
        ({"days": 1.5}, Rules(days=1.5), False),
        ({"size": "2K"}, Rules(size=2000), False),
    ],
)
def test_table(table: dict[str, Any], rules: Rules, auto: bool) -> None:
    assert rules_from({"gc": table}, "prov.toml") == (rules, auto)


def test_without_a_table() -> None:
    assert rules_from({}, "prov.toml") == (Rules(), False)


@pytest.mark.parametrize("table", [{"bilds": 3}, {"builds": "many"}, {"size": "big"}])
def test_invalid(table: dict[str, Any]) -> None:
    with pytest.raises(ProvError):
        rules_from({"gc": table}, "prov.toml")


def test_young_from() -> None:
    assert Rules(days=2).young_from(10 * DAY) == 8 * DAY
