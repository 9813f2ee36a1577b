"""`prov remote`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_a_remote_is_added_listed_and_removed(small: Project) -> None:
    cache = small.root / "cache"
    done = small.prov("remote", "add", "team", "cache", "--push")
    line = f"team  file://{cache}  trust none  push"
    assert done.stdout == f"{line}\n"
    assert done.stderr == f"created an empty cache in {cache}\n"
    assert small.ask("remote", "list") == f"{line}  not contacted yet\n"
    assert small.ask("remote", "list", "--refresh") == f"{line}  0 results\n"
    assert small.json("remote", "list")["remotes"] == [
        {
            "name": "team",
            "url": f"file://{cache}",
            "priority": 50,
            "trust": "none",
            "push": True,
            "claims": False,
            "results": 0,
            "problem": "",
        }
    ]
    small.prov("remote", "remove", "team")
    assert small.ask("remote", "list") == ""
    assert small.ask("remote", "add", "team", "cache", "--claims").endswith("  claims\n")
    assert small.json("remote", "list")["remotes"][0]["claims"] is True


def test_folder_with_other_files_is_rejected(small: Project) -> None:
    small.write("mine/text", "x")
    assert small.refused("remote", "add", "team", "mine") == (
        f"prov: {small.root}/mine is neither empty nor a git repository hint: name an empty folder"
    )
    assert small.ask("remote", "list") == ""


def test_old_results_of_a_remote_expire(two: Project) -> None:
    two.prov("remote", "add", "team", "cache", "--push")
    two.prov("push", "--all")
    options = ("team", "--days", "0", "--builds", "0")
    assert two.ask("remote", "gc", *options, "-n").startswith("1 result would be deleted, ")
    assert two.ask("remote", "gc", *options).startswith("1 result deleted, ")
    assert (
        two.ask("remote", "gc", *options, "-n")
        == "0 results would be deleted, 0 B on disk; 1 kept\n"
    )
