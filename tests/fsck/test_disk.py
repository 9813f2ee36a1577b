"""Checks of pools, states, caches and leftovers of killed processes, and kills of a repair."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.fsck.check import check
from prov.fsck.packs import leave_out
from prov.fsck.repair import repair
from prov.fsck.sources import Sources
from prov.processes import start_child
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output, write_output
from prov.records.refs import OutputRef
from prov.store.objects import CONSTANT_IDENTITY, MODE_FILE, Commit, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Pair
from prov.worktree.pool import GUARDED, Pool
from tests.fsck.damage import contents, flip, git_says, whole_refs
from tests.fsck.generated_store import make_store
from tests.locks import expire_locks

pytestmark = pytest.mark.process

DAY = 86_400


def problems(store: Store, *, thorough: bool = False) -> dict[str, str]:
    return {each.where: each.what for each in check(store, thorough=thorough).problems}


def mend(store: Store, *, thorough: bool = False) -> None:
    assert repair(Store.open(store.path), Sources(), thorough=thorough).after.problems == []


def age(path: Path) -> None:
    os.utime(path, (time.time() - DAY, time.time() - DAY), follow_symlinks=False)


@pytest.fixture
def pooled(store: Store, tmp_path: Path) -> Path:
    """A file of the pool."""
    with Store.open(store.path).objects.writer() as writer:
        oid = writer.add_blob(b"content\n" * 100)
    del writer
    pool = Pool(store.cache / GUARDED, store.objects)
    folder = os.open(tmp_path, os.O_RDONLY)
    pool.place(FileNode(MODE_FILE, oid), b"placed", folder)
    os.close(folder)
    return pool.folder / pool.name(FileNode(MODE_FILE, oid))


def test_a_good_pool_is_good(store: Store, pooled: Path) -> None:
    assert problems(store, thorough=True) == {}


def write(path: Path) -> None:
    path.write_bytes(b"something else")


def restore_mtime(path: Path) -> None:
    state = path.lstat()
    path.write_bytes(b"CONTENT\n" * 100)
    os.utime(path, ns=(state.st_mtime_ns, state.st_mtime_ns))


def rename(path: Path) -> None:
    path.rename(path.with_name("what"))


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (write, "bytes, but its blob has 800"),
        (lambda path: path.chmod(0o755), "has mode 755 instead of "),
        (lambda path: os.utime(path), "its mtime differs from the seal"),
        (restore_mtime, "although its mtime matches the seal"),
        (rename, "has an invalid name"),
        (link, "is not a regular file"),
    ],
)
def test_a_changed_file_of_a_pool_is_removed(
    store: Store, pooled: Path, spoil: Callable[[Path], object], what: str
) -> None:
    spoil(pooled)
    (found,) = problems(store, thorough=True).values()
    assert what in found
    before = Pool(store.cache / GUARDED, store.objects).generation()
    mend(store, thorough=True)
    assert list(pooled.parent.iterdir()) == []
    assert Pool(store.cache / GUARDED, store.objects).generation() > before


def test_a_lost_blob_is_restored_from_the_pool(store: Store, pooled: Path) -> None:
    other = Store.open(store.path)
    with other.objects.writer() as writer:
        blob = writer.add_blob(b"content\n" * 100)
        tree = writer.add_tree([Entry(b"f", MODE_FILE, blob)])
        output = write_output(writer, Output(Pair(tree, None)))
        commit = writer.add_commit(Commit(output, (), CONSTANT_IDENTITY, "output\n"))
    other.refs.update(RefUpdate(str(OutputRef(TaskKey("a:b"), TaskHash(bytes(20)))), commit))
    del writer, other
    before = contents(store.path)
    leave_out(store, [blob])
    assert problems(store)[blob.hex()] == "is missing"
    mend(store)
    assert contents(store.path) == before
    assert Store.open(store.path).objects.blob(blob) == b"content\n" * 100


def test_leftovers_are_noted_and_deleted(store: Store) -> None:
    pid = _dead_pid()
    pack = store.path / "objects/pack"
    aside = store.cache / "aside" / "0123456789ab"
    aside.mkdir(parents=True)
    (aside / "file").write_text("x")
    aside.with_suffix(".lock").touch()
    stale = [
        pack / f"tmp_pack_prov_{pid}_1",
        pack / "tmp_pack_git",
        store.path / "refs/heads/builds.lock",
    ]
    stale += [store.path / "packed-refs.lock", store.path / "packed-refs.new"]
    shutil.copy(next(pack.glob("*.pack")), pack / f"pack-{'1' * 40}.pack")
    stale.append(pack / f"pack-{'1' * 40}.pack")
    for path in stale[:5]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    for path in stale:
        age(path)
    broken = [
        store.cache / "workdirs/x%y%z",
        store.cache / "sources/abc",
        store.cache / "sysroots/abc.state",
    ]
    broken.append(store.cache / "sysroots/abc.merges")
    for path in broken:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xffnothing")
    found = check(store)
    assert found.wrong == []
    wanted = {str(path.relative_to(store.path)) for path in [*stale, *broken, aside]}
    assert {each.where for each in found.problems} == wanted
    mend(store)
    assert not any(path.exists() for path in [*stale, *broken, aside])


def test_young_or_locked_files_are_kept(store: Store) -> None:
    (store.path / "objects/pack" / f"tmp_pack_prov_{os.getpid()}_1").write_bytes(b"half")
    (store.path / "packed-refs.lock").touch()
    assert problems(store) == {}


def _dead_pid() -> int:
    child = start_child(lambda: None)
    os.close(child.answer)
    os.waitpid(child.pid, 0)
    return child.pid


# kills


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fsck") / "store.git"
    make_store(path, runs=60, recipes=3)
    return path


STEPS = ("rename", "replace", "unlink", "fsync", "mkdir")


def _dies_at(number: int, path: Path) -> bool:
    """Repair a store in a process that dies at the n-th disk change; return whether it did."""

    def run() -> None:
        left = [number]
        tempfile.tempdir = str(path.parent)  # the test's folder is deleted, including its leftovers

        def counted(do: Callable[..., object]) -> Callable[..., object]:
            def step(*arguments: object, **options: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return do(*arguments, **options)

            return step

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        repair(Store.open(path), Sources())

    child = start_child(run)
    os.close(child.answer)
    return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 9


@pytest.mark.parametrize("kind", ["pack", "idx", "refs"])
def test_a_kill_of_a_repair_costs_nothing(generated: Path, tmp_path: Path, kind: str) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(generated, spoiled)
    packs = sorted((spoiled / "objects/pack").glob("*.pack"), key=lambda each: -each.stat().st_size)
    if kind == "refs":
        text = (spoiled / "packed-refs").read_bytes()
        (spoiled / "packed-refs").write_bytes(text[:-500] + bytes(100) + text[-400:])
    else:
        flip(packs[0].with_suffix(f".{kind}"), 3000, 4)
    shutil.copytree(spoiled, tmp_path / "whole")
    repair(Store.open(tmp_path / "whole"), Sources())
    wanted = contents(tmp_path / "whole")
    number = 0
    while True:
        path = tmp_path / f"{number}"
        shutil.copytree(spoiled, path)
        killed = _dies_at(number, path)
        expire_locks(path)
        assert repair(Store.open(path), Sources()).after.wrong == []
        assert git_says(path) == ""
        assert contents(path) == wanted
        assert whole_refs(Store.open(path)) == wanted
        shutil.rmtree(path)
        if not killed:
            break
        number += 1 if number < 12 else 5
    assert number > 4
