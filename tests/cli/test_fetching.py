"""Queries about results of other machines fetch them from a remote."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_queries_fetch_missing_results(chain: Project, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "cache.git"], check=True)
    chain.prov("remote", "add", "team", str(tmp_path / "cache.git"), "--push", "--trust", "none")
    chain.prov("push", "--all")
    other = Project(tmp_path / "other")
    shutil.copytree(chain.root, other.root, ignore=shutil.ignore_patterns(".prov", "build"))
    other.prov("init")
    other.prov("remote", "add", "team", str(tmp_path / "cache.git"), "--trust", "none")
    assert "1 fetched" in other.ask("build", "x:go")
    assert other.ask("show", "x:go").startswith("x:go  ok\n")
    done = other.prov("show", "x:patch")  # the build did not fetch this record
    assert (
        "fetched the published record of x:patch" in done.stderr
        and "patches/0001-fix.patch" in done.stdout
    )
    error = other.refused("diff", "x:go")
    assert (
        "it ran on another machine, or was deleted" in error
        and "prov pull --with-workdirs x:go" in error
        and "fsck" not in error
    )
    other.edit("recipes/x.toml", "cat src", "cat  src")
    assert "changed: script" in other.ask("why", "x:go")
    chain.prov("push", "--all", "--with-workdirs")
    assert other.ask("diff", "x:go") == chain.ask("diff", "x:go")
