"""`prov pull`."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_results_are_fetched_once(two: Project) -> None:
    two.prov("remote", "add", "team", "cache")
    two.prov("push")
    shutil.rmtree(two.root / ".prov")
    two.prov("init")
    two.prov("remote", "add", "team", "cache")
    assert two.ask("pull").startswith("1 result fetched, ")
    assert two.ask("pull") == "0 results fetched, 0 B; 1 already here\n"


def test_missing_remote_has_a_hint(two: Project) -> None:
    assert two.refused("pull") == (
        "prov: no remotes hint: run `prov remote add NAME URL` to add one"
    )
