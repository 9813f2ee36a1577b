"""Tests of questions to git about a work tree whose repository is not trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store import git as git_module
from prov.wrapped.work_tree import Revision, WorkTree

pytestmark = pytest.mark.process
IDENTITY = (
    "-c",
    "user.name=A",
    "-c",
    "user.email=a@example.com",
    "-c",
    "protocol.file.allow=always",
)


def git(folder: Path, *words: str) -> str:
    """Run git in a folder; return its output."""
    command = ["git", *IDENTITY, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A work tree with one commit."""
    path = tmp_path / "tree"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "src").mkdir()
    (path / "src" / "a.c").write_text("1\n")
    (path / ".gitignore").write_text("*.o\n/build/\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    return path


def work_tree(folder: Path) -> WorkTree:
    found = WorkTree.containing(folder)
    assert found is not None
    return found


def revision(folder: Path) -> Revision:
    return work_tree(folder).revision()


def test_a_folder_outside_a_work_tree(tmp_path: Path) -> None:
    assert WorkTree.containing(tmp_path) is None
    git(tmp_path, "init", "-q", "--bare", "bare")
    assert WorkTree.containing(tmp_path / "bare" / "objects") is None


@pytest.mark.parametrize("content", ["", "gitdir: nowhere\n", "text"])
def test_a_git_file_without_a_repository(tmp_path: Path, content: str) -> None:
    (tmp_path / ".git").write_text(content)
    assert WorkTree.containing(tmp_path) is None


def test_a_pipe_does_not_block(top: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".git")
    assert WorkTree.containing(tmp_path) is None
    head = git(top, "rev-parse", "HEAD")
    for name in ("index", "config"):
        (top / ".git" / name).unlink()
        os.mkfifo(top / ".git" / name)
    assert revision(top) == Revision(head, is_dirty=True)  # without an index, all files are deleted


def test_the_commit_and_changes_of_tracked_files(top: Path) -> None:
    head = git(top, "rev-parse", "HEAD")
    (top / "new").write_text("untracked")
    assert revision(top / "src") == Revision(head, is_dirty=False)
    (top / "src" / "a.c").write_text("2\n")
    assert revision(top) == Revision(head, is_dirty=True)
    git(top, "add", "src/a.c")
    assert revision(top) == Revision(head, is_dirty=True)


def test_a_detached_head_and_packed_refs(top: Path) -> None:
    head = git(top, "rev-parse", "HEAD")
    git(top, "pack-refs", "--all")
    git(top, "gc", "-q")
    assert revision(top) == Revision(head, is_dirty=False)
    git(top, "checkout", "-q", "--detach")
    assert revision(top) == Revision(head, is_dirty=False)


def test_no_commit_yet(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert revision(tmp_path) == Revision("", is_dirty=False)


def test_a_repository_in_sha256_format(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    assert revision(tmp_path) == Revision(git(tmp_path, "rev-parse", "HEAD"), is_dirty=False)


def test_a_linked_work_tree_and_a_submodule(top: Path, tmp_path: Path) -> None:
    git(top, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    git(tmp_path / "side", "commit", "-q", "--allow-empty", "-m", "on the side")
    head = git(tmp_path / "side", "rev-parse", "HEAD")
    assert revision(tmp_path / "side") == Revision(head, is_dirty=False)
    assert work_tree(tmp_path / "side").common == top / ".git"
    outer = tmp_path / "outer"
    git(tmp_path, "init", "-q", "outer")
    git(outer, "submodule", "--quiet", "add", str(top), "lib")
    git(outer, "commit", "-q", "-m", "with lib")
    assert not revision(outer).is_dirty
    assert revision(outer / "lib" / "src").commit == git(top, "rev-parse", "HEAD")
    git(outer / "lib", "commit", "-q", "--allow-empty", "-m", "moved")
    assert revision(outer).is_dirty


def test_a_split_index_and_a_sparse_checkout(top: Path) -> None:
    git(top, "update-index", "--split-index")
    assert not revision(top).is_dirty
    git(top, "sparse-checkout", "set", "nothing")
    assert not (top / "src" / "a.c").exists()
    assert not revision(top).is_dirty


def test_ignored_paths(top: Path) -> None:
    for name in ("src/a.o", "src/deep/b.o", "build/x/y", "local", "kept.o", "everywhere"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    git(top, "add", "--force", "kept.o")
    (top / ".git" / "info" / "exclude").write_text("local\n")
    everywhere = top.parent / "global"
    everywhere.write_text("everywhere\n")
    git(top, "config", "--global", "core.excludesFile", str(everywhere))
    tree = work_tree(top)
    assert sorted(tree.ignored(top)) == [
        *(b"build/", b"everywhere", b"local", b"src/a.o", b"src/deep/", b"src/deep/b.o"),
    ]
    assert tree.ignored(top / "src" / "deep") == [b"src/deep/", b"src/deep/b.o"]
    assert tree.ignored(top / "build" / "x") == [b"build/"]
    assert tree.is_ignored(top / "build")
    assert not tree.is_ignored(top / "src")
    odd = top / "src" / ":(top)*[x]"
    odd.mkdir()
    (odd / "x.o").touch()
    assert b"src/:(top)*[x]/x.o" in tree.ignored(odd)


def test_a_damaged_index_is_reported(top: Path) -> None:
    (top / ".git" / "index").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="git status failed"):
        revision(top)


def test_settings_of_the_repository_run_no_program(top: Path, tmp_path: Path) -> None:
    marker, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho >>{marker} $0\ncat\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "reference-transaction"):
        shutil.copy(program, hooks / hook)
        shutil.copy(program, top / ".git" / "hooks" / hook)
    (top / "src" / ".gitattributes").write_text("* filter=own diff=own\n")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "attributes")
    for name in ("filter.own.clean", "filter.own.process", "diff.own.textconv"):
        git(top, "config", name, str(program))
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external"):
        git(top, "config", name, str(program))
    git(top, "config", "core.hooksPath", str(hooks))
    git(top, "config", "filter.own.required", "true")
    git(top, "config", "include.path", str(tmp_path / "missing"))
    index = (top / ".git" / "index").read_bytes()
    marker.unlink(missing_ok=True)  # the commands above ran it
    os.utime(top / "src" / "a.c", (5, 5))  # git must compare the content
    tree = work_tree(top)
    assert tree.revision().is_dirty is False
    assert tree.ignored(top) == []
    assert not marker.exists()
    assert (top / ".git" / "index").read_bytes() == index
    subprocess.run(["git", "-C", top, "status"], capture_output=True, check=False)
    assert marker.exists(), "the settings above run no program at all"


def test_variables_of_a_hook_do_not_select_another_repository(
    top: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = git(top, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere" / "index"))
    assert revision(top) == Revision(head, is_dirty=False)


def test_without_git(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git_module._program_and_version.cache_clear()
    git_module.git_program.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    try:
        with pytest.raises(StoreError, match="not on PATH"):
            revision(top)
    finally:
        git_module.git_program.cache_clear()
        git_module._program_and_version.cache_clear()
