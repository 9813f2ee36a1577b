"""Tests of the directories in which a task's reads are recorded."""

from __future__ import annotations

from pathlib import Path

from prov.reads.watch import WatchedTree
from prov.recipes.recipe import NEVER_RECORDED, SYSROOT, SYSROOT_NATIVE
from prov.sysroot.compose import Composed
from prov.tasks.reading import watched_trees
from prov.worktree.attributes import EMPTY
from tests.tasks.samples import paths_of

SEEN = "/build/work/x86_64/zlib/compile"


def composed(*folders: bytes) -> Composed:
    return Composed(EMPTY, frozenset(folders))


def test_a_task_s_own_directories_are_watched(tmp_path: Path) -> None:
    (tmp_path / SYSROOT).mkdir()
    (tmp_path / SYSROOT_NATIVE).mkdir()
    sysroots = {SYSROOT_NATIVE: composed(b"usr", b"usr/bin"), SYSROOT: composed()}
    task_paths = paths_of(tmp_path, sandboxed=True, direct=(("pseudo", Path("/direct/pseudo")),))
    skipped = frozenset(name.encode() for name in NEVER_RECORDED)
    assert list(watched_trees(task_paths, sysroots)) == [
        WatchedTree(tmp_path, SEEN, skipped=skipped, writable=True),
        WatchedTree(
            tmp_path / SYSROOT_NATIVE, "/build/sysroot-native", frozenset([b"usr", b"usr/bin"])
        ),
        WatchedTree(tmp_path / SYSROOT, "/build/sysroot", frozenset()),
        WatchedTree(Path("/direct/pseudo"), "/build/direct/pseudo", shared=True),
    ]


def test_a_sysroot_that_is_not_on_disk_is_not_watched(tmp_path: Path) -> None:
    sysroots = {SYSROOT_NATIVE: composed(), SYSROOT: composed()}
    (workdir,) = watched_trees(paths_of(tmp_path, sandboxed=True), sysroots)
    assert workdir.path == tmp_path


def test_nothing_is_watched_without_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / SYSROOT).mkdir()
    assert list(watched_trees(paths_of(tmp_path), {SYSROOT: composed()})) == []
