"""What a new user sees first: `prov init` in a git repository, and a folder without permission."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from prov_cli.app import report_error

from tests.cli.story import Project


def status(folder: Path) -> str:
    """Return what git lists as changed or untracked."""
    command = ["git", "-C", str(folder), "status", "--porcelain"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_init_makes_git_ignore_the_store(small: Project) -> None:
    assert small.prov("init").stderr == ""
    subprocess.run(["git", "init", "-q", str(small.root)], check=True)
    exclude = small.root / ".git" / "info" / "exclude"
    exclude.write_text("# no end of line")
    assert f"git ignores the store: added to {exclude}" in small.prov("init").stderr
    assert exclude.read_text() == "# no end of line\n/.prov/\n"
    assert ".prov" not in status(small.root)
    assert small.prov("init").stderr == ""


def test_a_store_that_git_ignores_already_is_not_added(small: Project) -> None:
    subprocess.run(["git", "init", "-q", str(small.root)], check=True)
    small.write(".gitignore", ".prov/\n")
    assert small.prov("init").stderr == ""
    assert "prov" not in (small.root / ".git" / "info" / "exclude").read_text()


@pytest.mark.parametrize("words", [("run", "--as", "a:b", "--", "true"), ("capture", ".", "--as")])
def test_the_first_run_leaves_a_work_tree_clean(tmp_path: Path, words: tuple[str, ...]) -> None:
    project = Project(tmp_path / "a [b]")
    project.root.mkdir()
    subprocess.run(["git", "init", "-q", str(project.root)], check=True)
    folder = Project(project.write("lib [x]/file", "").parent)
    subprocess.run(["git", "-C", str(project.root), "add", "."], check=True)
    before = status(project.root)
    words = (*words, "a:b") if words[-1] == "--as" else words
    assert "git ignores the store" in folder.prov(*words).stderr
    assert status(project.root) == before
    assert "git ignores the store" not in folder.prov(*words).stderr


def test_the_store_in_a_linked_work_tree_is_ignored(tmp_path: Path) -> None:
    first = Project(tmp_path / "first")
    subprocess.run(["git", "init", "-q", str(first.root)], check=True)
    identity = ["-c", "user.name=A", "-c", "user.email=a"]
    for words in (
        ["commit", "-q", "--allow-empty", "-m", "first"],
        ["worktree", "add", "-q", "../second"],
    ):
        subprocess.run(["git", "-C", str(first.root), *identity, *words], check=True)
    second = Project(tmp_path / "second")
    second.prov("init")
    assert status(second.root) == "?? prov.toml\n"
    assert "/.prov/\n" in (first.root / ".git" / "info" / "exclude").read_text()


@pytest.mark.parametrize("obstacle", ["link", "folder", "pipe"])
def test_an_exclude_file_that_cannot_be_written(small: Project, obstacle: str) -> None:
    subprocess.run(["git", "init", "-q", str(small.root)], check=True)
    exclude, other = small.root / ".git" / "info" / "exclude", small.write("other", "")
    exclude.unlink()
    if obstacle == "link":
        exclude.symlink_to(other)
    elif obstacle == "folder":
        exclude.mkdir()
    else:
        os.mkfifo(exclude)
    (remark,) = small.prov("init").stderr.splitlines()
    assert remark.startswith("note: git may not ignore the store: ")
    assert remark.endswith("add .prov/ to .gitignore")
    assert str(exclude) in remark
    assert other.read_text() == ""


def test_an_error_of_the_system_names_the_file_first(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.EACCES, "Permission denied", "/srv/cache")
    assert report_error(error) == 1
    assert capsys.readouterr().err.startswith("prov: /srv/cache: Permission denied\n")
