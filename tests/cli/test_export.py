"""`prov export`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_results_are_written_once(two: Project) -> None:
    assert two.ask("export", "www").startswith("1 result written to www, ")
    assert two.ask("export", "www") == "0 results written to www, 0 B\n"
    assert two.ask("export", "www", "--all").startswith("1 result written to www, ")


def test_without_results_there_is_nothing_to_share(small: Project) -> None:
    small.prov("init")
    answer = "nothing to share: no successful task is recorded\n"
    assert small.ask("export", "www", "--all") == answer
    assert not (small.root / "www").exists()
