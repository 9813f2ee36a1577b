"""Changed files of a pool are counted and restored."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from prov.processes import decode_answer, start_child
from prov.store.objects import Oid, object_id
from prov.worktree import pool as pools
from prov.worktree.attributes import FileNode, Pair
from prov.worktree.placer import sealed_mtime
from prov.worktree.pool import Pool
from tests.worktree.test_pool import CONTENT, inode, package, pool, pool_file, put, write_through

__all__ = ["package", "pool"]  # fixtures


def test_each_changed_file_increments_the_generation(
    pool: Pool, package: Pair, tmp_path: Path
) -> None:
    assert pool.generation() == 0
    folders = [put(pool, package, tmp_path / str(number)) for number in range(3)]
    pool_file(pool, 0o4755).unlink()
    put(pool, package, tmp_path / "after one was gone")
    shutil.rmtree(pool.folder)
    put(pool, package, tmp_path / "after all were gone")
    assert pool.generation() == 0
    for number in (1, 2):
        write_through(tmp_path / "after all were gone" / "usr" / "data")
        assert pool.generation() == number - 1
        put(pool, package, tmp_path / f"find {number}")
        assert pool.generation() == number
        shutil.rmtree(tmp_path / "after all were gone")
        put(pool, package, tmp_path / "after all were gone")
        assert pool.generation() == number
    for name in ("usr/data", "usr/bin/tool"):
        write_through(tmp_path / "after all were gone" / name)
    put(pool, package, tmp_path / "both")
    assert pool.generation() == 4
    write_through(folders[0] / "usr" / "data")  # an inode that is no longer in the pool
    put(pool, package, tmp_path / "last")
    assert pool.generation() == 4
    assert Pool(pool.folder, pool.objects).generation() == 4


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff", b"1.5"])
def test_a_damaged_generation_is_zero_and_increments(
    pool: Pool, package: Pair, tmp_path: Path, damage: bytes
) -> None:
    put(pool, package, tmp_path / "before")
    (pool.folder / "generation").write_bytes(damage)
    assert pool.generation() == 0
    write_through(tmp_path / "before" / "usr" / "data")
    put(pool, package, tmp_path / "after")
    assert pool.generation() == 1


def test_changes_found_by_several_processes_are_all_counted(
    pool: Pool, package: Pair, tmp_path: Path
) -> None:
    put(pool, package, tmp_path / "before")
    node = FileNode(stat.S_IFREG | 0o644, object_id("blob", CONTENT))

    def find() -> None:
        for _ in range(40):
            assert pool.repair(node)

    children = [start_child(find) for _ in range(3)]
    for child in children:
        with os.fdopen(child.answer, "rb") as answer:
            decode_answer(answer.read(), os.waitpid(child.pid, 0)[1], "finding")
    assert pool.generation() == 120
    assert pool.intact(node)
    assert [path for path in pool.folder.rglob("*") if path.name.startswith(".")] == []


def test_of_two_processes_that_fill_the_pool_the_first_wins(
    pool: Pool, package: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = list[Path]()

    def meanwhile(oid: Oid, size: int, own: int | None) -> int:
        if not others:
            others.append(tmp_path / "other")
            child = start_child(
                lambda: str(put(Pool(pool.folder, pool.objects), package, tmp_path / "other"))
            )
            with os.fdopen(child.answer, "rb") as answer:
                decode_answer(answer.read(), os.waitpid(child.pid, 0)[1], "filling")
        return sealed_mtime(oid, size, own)

    monkeypatch.setattr(pools, "sealed_mtime", meanwhile)
    top = put(pool, package, tmp_path / "top")
    for name in ("usr/bin/tool", "usr/data", "usr/su"):
        assert inode(top / name) == inode(tmp_path / "other" / name)
    assert [path for path in pool.folder.rglob("*") if path.name.startswith(".")] == []


def test_a_sealed_or_missing_file_is_intact(pool: Pool, package: Pair, tmp_path: Path) -> None:
    node = FileNode(stat.S_IFREG | 0o644, object_id("blob", CONTENT))
    assert pool.intact(node)
    put(pool, package, tmp_path / "top")
    assert pool.intact(node)
    write_through(tmp_path / "top" / "usr" / "data")
    assert not pool.intact(node)
    assert pool.intact(node._replace(mode=stat.S_IFREG | 0o755))
    assert pool.repair(node)
    assert pool.intact(node)
    assert pool_file(pool, 0o644).read_bytes() == CONTENT
    assert (tmp_path / "top" / "usr" / "data").read_bytes() != CONTENT  # another inode


def test_files_of_a_killed_process_are_not_an_obstacle(
    pool: Pool, package: Pair, tmp_path: Path
) -> None:
    source = pool_file(pool, 0o644)
    source.parent.mkdir(parents=True)
    half = source.with_name(f".{source.name}.{os.getpid()}")
    half.write_bytes(b"half of another content, and longer" * 100)
    assert (put(pool, package, tmp_path / "top") / "usr" / "data").read_bytes() == CONTENT
    assert [path for path in pool.folder.rglob("*") if path.name.startswith(".")] == [
        half
    ]  # no other process can remove it
