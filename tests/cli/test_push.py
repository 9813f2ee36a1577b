"""`prov push`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_results_are_published_once(two: Project) -> None:
    two.prov("remote", "add", "team", "cache")
    assert two.ask("push") == "team: 1 result published in 1 push; 0 already there\n"
    assert two.ask("push") == "team: 0 results published in 0 pushes; 1 already there\n"
    assert two.ask("push", "--all") == "team: 1 result published in 1 push; 1 already there\n"


def test_without_results_there_is_nothing_to_share(small: Project) -> None:
    small.prov("init")
    small.prov("remote", "add", "team", "cache")
    answer = "nothing to share: no successful task is recorded\n"
    assert small.ask("push", "--all") == answer


def test_missing_remote_has_a_hint(two: Project) -> None:
    assert two.refused("push") == (
        "prov: no remote to push to hint: run `prov remote add NAME URL --push` to add one"
    )
