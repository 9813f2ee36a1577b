"""`prov doctor`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.story import Project, in_order
from tests.commands import PROV

pytestmark = pytest.mark.process


def test_a_sound_machine_has_no_errors(two: Project) -> None:
    rows = two.json("doctor")["findings"]
    assert {"git", "sandbox", "inotify", "locale", "disk", "clock"} <= {
        row["subject"] for row in rows
    }
    assert all(row["advice"] for row in rows if row["state"] != "ok")
    lines = two.ask("doctor").splitlines()
    assert lines[0].startswith("ok      git: git version 2.")
    assert lines[-1].startswith("0 errors, ")


def test_without_a_store_the_machine_is_checked(tmp_path: Path) -> None:
    answer = Project(tmp_path).ask("doctor")
    assert "ok      disk: has hardlinks" in answer.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_each_problem_has_advice(two: Project, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    git = shutil.which("git")
    assert git is not None
    (programs / "git").symlink_to(git)
    two.prov("remote", "add", "far", f"file://{tmp_path}/far", "--push")
    shutil.rmtree(tmp_path / "far")
    two.environment = {"PATH": str(programs), "LC_ALL": "xx_YY"}
    in_order(
        two.ask("doctor", code=1),
        "warning sandbox: bwrap is not on PATH",
        "hint: install bubblewrap; without it, tasks can read the whole file system",
        "warning locale: xx_YY does not exist",
        "warning remote far: publications are not signed",
        "1 error, 3 warnings",
    )


def test_no_git_is_an_error(tmp_path: Path) -> None:
    project = Project(tmp_path, {"PATH": str(Path(PROV).parent)})
    answer = project.ask("doctor", code=1)
    assert answer.startswith("error   git: ")
    assert "hint: install git 2.39 or newer" in answer
