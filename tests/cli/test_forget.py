"""`prov forget`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project
from tests.schema.check import read_answer

pytestmark = pytest.mark.process


def test_a_dry_run_lists_refs_and_deletes_nothing(two: Project) -> None:
    before, tag = two.refs(), two.tag("a:go")
    lines = two.ask("forget", "a:go", "--dry-run").splitlines()
    assert f"refs/tags/{tag} would be removed" in lines
    assert two.refs() == before


def test_a_run_is_removed(two: Project) -> None:
    tag = two.tag("a:go")
    assert " removed\n" in two.ask("forget", "a:go")
    assert tag not in two.refs()


def test_a_text_is_removed_and_counted(two: Project) -> None:
    two.task("echo secret > out/x")
    two.prov("build", "a")
    options = ("--containing", "-", "--json")
    planned = read_answer(two.prov("forget", *options, "-n", typed="secret\n").stdout)
    forgotten = read_answer(two.prov("forget", *options, typed="secret\n", code=None).stdout)
    assert (planned["kind"], planned["dry_run"]) == ("forget", True)
    assert forgotten["refs"] == planned["refs"] != []
    assert "secret" not in two.prov("show", "a:go", code=None).stdout


def test_a_run_or_a_text_must_be_named(two: Project) -> None:
    done = two.prov("forget", code=2)
    assert "name a run, or pass --containing TEXT" in done.stderr
