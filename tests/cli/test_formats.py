"""`--format` of lists."""

from __future__ import annotations

import pytest
import typer
from prov_cli.formats import formatted
from prov_cli.output import time_text

ROW = {"tag": "a/go/1", "time": 1_700_000_000, "failed": True, "build": None, "labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("%(tag) %(failed)", "a/go/1 true"),
        ("100%% of %(tag)", "100% of a/go/1"),
        ("[%(build)]", "[]"),
        ("%(labels)", "a,b"),
        ("%(time:unix)", "1700000000"),
        ("%(time)", time_text(1_700_000_000)),
        ("%x %(", "%x %("),
    ],
)
def test_fields_are_filled_in(template: str, line: str) -> None:
    assert formatted(template, ROW) == line


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(typer.BadParameter, match=r"unknown field %\(tga\): the fields are tag, "):
        formatted("%(tga)", ROW)
