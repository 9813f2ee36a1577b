"""`prov gc`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

OLD = ("--builds", "1", "--workdirs", "1", "--days", "0")


def test_dry_run_lists_deletions_and_deletes_nothing(two: Project) -> None:
    before = two.refs()
    lines = two.ask("gc", *OLD, "--dry-run").splitlines()
    assert any(
        line.startswith("by rule ") and line.endswith(" would be deleted") for line in lines[:-1]
    )
    assert lines[-1].endswith(" would be deleted")
    assert two.refs() == before


def test_old_results_are_deleted_and_counted(two: Project) -> None:
    planned = two.json("gc", *OLD, "--dry-run")
    deleted = two.json("gc", *OLD)
    assert deleted["refs"] == planned["refs"] != []
    assert not deleted["in_use"]
    assert all(row["ref"] not in two.refs() for row in deleted["refs"])
    assert two.ask("gc", *OLD) == "0 objects, 0 B were deleted\n"


def test_options_override_the_projects_rules(two: Project) -> None:
    two.append("prov.toml", "[gc]\nbuilds = 1\nworkdirs = 1\ndays = 0\n")
    assert two.json("gc", "-n")["refs"] != []
    assert two.json("gc", "-n", "--builds", "9", "--workdirs", "9", "--days", "9")["refs"] == []
