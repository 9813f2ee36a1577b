"""Tests of the directories in which a task's reads are recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prov.reads.reads import incomplete
from prov.reads.strace import Strace
from prov.reads.watch import WatchedTree
from prov.recipes.recipe import NEVER_RECORDED, SYSROOT, SYSROOT_NATIVE
from prov.store.repository import Store
from prov.sysroot.compose import Composed
from prov.tasks.reading import Tracing, Unread, watched_trees
from prov.worktree.attributes import EMPTY
from prov.worktree.exclude import Exclude
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


@pytest.mark.process
def test_a_task_without_a_sandbox_has_no_list() -> None:
    code, reads = Unread().run(subprocess.Popen, ["sh", "-c", "exit 3"], "/")
    assert (code, reads.rows) == (3, ())
    assert reads.opens == incomplete("no sandbox")


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_an_unwritable_trace_makes_a_list_incomplete(tmp_path: Path, store: Store) -> None:
    (tmp_path / "trace").symlink_to(tmp_path / "missing/trace")
    tracing = Tracing(
        strace=Strace.find("/usr/bin:/bin"),
        output=tmp_path / "trace",
        objects=store.objects,
        capture=lambda: EMPTY,
        rules=Exclude(),
        seen_workdir=str(tmp_path),
    )
    code, reads = tracing.run(subprocess.Popen, ["true"], "/")
    assert code == 1
    assert reads.opens == reads.probes
    assert reads.opens == incomplete("cannot read the trace: No such file or directory")
    assert not os.path.lexists(tmp_path / "trace")
