"""Tests of the directories in which a task's reads are recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prov.reads.reads import COMPLETE, incomplete
from prov.reads.strace import Strace
from prov.reads.watch import WatchedTree
from prov.recipes.recipe import NEVER_RECORDED, SYSROOT, SYSROOT_NATIVE
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.repository import Store
from prov.sysroot.compose import Composed
from prov.tasks.reading import Tracing, Unread, Watching, toolchain_trees, watched_trees
from prov.tasks.sandbox import HOSTTOOLS
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


def test_the_host_tools_are_watched_as_shared(tmp_path: Path, store: Store) -> None:
    with store.objects.writer() as writer:
        file = Entry(b"sed", MODE_FILE, writer.add("blob", b""))
        folder = Entry(b"bin", MODE_DIRECTORY, writer.add_tree([file]))
        tree = writer.add_tree([Entry(b"usr", MODE_DIRECTORY, writer.add_tree([folder]))])
    task_paths = replace(paths_of(tmp_path, sandboxed=True), root=Path("/tools", tree.hex()))
    root, links = toolchain_trees(store.objects, task_paths)
    assert list(root.folders or ()) == [b"usr", b"usr/bin"]
    assert (root.path, root.seen, root.shared) == (task_paths.root, "", True)
    assert links == WatchedTree(task_paths.links, HOSTTOOLS, (), shared=True)


@pytest.mark.parametrize(
    ("mounts", "reason"),
    [
        ([], COMPLETE),
        (["--tmpfs", "/tmp", "--dev", "/dev", "--proc", "/proc"], COMPLETE),
        (["--ro-bind", "{tools}/usr", "/usr", "--symlink", "usr/bin", "/bin"], COMPLETE),
        (["--bind", "{work}", "/build/work"], COMPLETE),
        (["--ro-bind", "{other}", "/etc/ssl"], incomplete("/etc/ssl is not watched")),
        (["--ro-bind-try", "{other}/missing", "/etc/ssl"], COMPLETE),
    ],
)
@pytest.mark.process
def test_all_mounts_of_a_sandbox_must_be_watched(
    tmp_path: Path, mounts: list[str], reason: str
) -> None:
    places = {name: tmp_path / name for name in ("work", "tools", "other")}
    for place in places.values():
        (place / "usr").mkdir(parents=True)
    reading = Watching(
        [WatchedTree(places["work"], "/build/work")],
        [WatchedTree(places["tools"], "", [b"usr"], shared=True)],
    )
    # the mounts are not made
    command = ["sh", "-c", "exit 3", *(mount.format(**places) for mount in mounts)]
    code, reads = reading.run(subprocess.Popen, command, "/")
    assert (code, reads.opens, reads.toolchain) == (3, COMPLETE, reason)


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
