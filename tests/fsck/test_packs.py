"""Removal of files and objects from a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.fsck.packs import leave_out, set_aside
from prov.store.repository import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


def test_files_of_one_name(store: Store) -> None:
    paths = []
    for text in ("one", "two", "three"):
        path = store.path / "file"
        path.write_text(text)
        paths.append(set_aside(store, path))
        assert not path.exists()
    assert [path.name for path in paths] == ["file", "file.1", "file.2"]
    assert [path.read_text() for path in paths] == ["one", "two", "three"]


def test_an_object_is_taken_out_of_its_pack(store: Store) -> None:
    with store.objects.writer() as writer:
        first, second = writer.add_blob(b"one"), writer.add_blob(b"two")
        writer.finish()
    assert leave_out(store, [first]) == 1
    assert not store.objects.exists(first)
    assert store.objects.blob(second) == b"two"
    assert leave_out(store, [first]) == 0
    assert list((store.path / "damaged").glob("*.pack"))
