"""Deletions outside a store's objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.forget.local import clear_caches, clear_logs, files_with, remove_workdirs
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import RunRef, WorkdirRef
from prov.store.repository import Store

TEXT = b"hunter2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_files_with_a_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a/b", b"x" * ((1 << 20) - 3) + TEXT)
    write(tmp_path / "a/c", b"nothing")
    assert files_with(tmp_path, TEXT) == [path]
    assert files_with(tmp_path, b"") == []


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        (b"0" * 40 + b" started\n", True),
        (b"1" * 40 + b" a deleted commit\n", False),
        (b"0" * 40 + b" with " + TEXT + b"\n", False),
    ],
)
def test_lines_of_reflogs(store: Store, line: bytes, stays: bool) -> None:
    log = write(store.path / "logs/HEAD", b"first\n" + line)
    original = write(store.path / "ORIG_HEAD", line)
    clear_logs(store, TEXT)
    assert log.read_bytes() == b"first\n" + (line if stays else b"")
    assert original.exists() is stays


def test_caches(store: Store) -> None:
    parsed = write(store.cache / "parsed/a", b"")
    bills = write(store.cache / "contents-wal", b"")
    checkout = write(store.cache / "direct/1/folder/file", TEXT)
    scratch = write(store.cache / "aside/1/work/file", b"other")
    clear_caches(store, TEXT)
    assert not parsed.exists()
    assert not bills.exists()
    assert not (store.cache / "direct/1").exists(), checkout
    assert scratch.exists()


def test_workdirs_whose_refs_change(tmp_path: Path) -> None:
    first, second = tmp_path / "x86_64/zlib/build", tmp_path / "x86_64/app/build"
    first.mkdir(parents=True)
    second.mkdir(parents=True)
    run = RunRef(TaskKey("app:build"), TaskHash(bytes(20)), 1)
    refs = [str(WorkdirRef("x86_64", "zlib", "build")), str(run)]
    assert remove_workdirs(tmp_path, refs) == [first]
    assert not first.exists()
    assert second.exists()
    assert remove_workdirs(None, refs) == []
