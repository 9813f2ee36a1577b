"""Background upkeep: when it is due, and what it deletes from disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from prov.store.repository import Store
from prov.upkeep.background import POOL_AGE, clear_aside, clear_pools, collect, start_upkeep
from prov.upkeep.rules import Rules


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


def test_nothing_is_due_in_a_new_store_without_rules(store: Store) -> None:
    assert not start_upkeep(store, None)


def test_nothing_is_due_after_a_collection(store: Store) -> None:
    collect(store, Rules())
    assert not start_upkeep(store, Rules())


def test_unused_pool_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.cache / "pool" / "aa"
    folder.mkdir(parents=True)
    (folder / "unused").write_bytes(b"1234")
    (folder / "linked").write_bytes(b"1234")
    os.link(folder / "linked", store.cache / "link")
    assert clear_pools(store) == (0, 0)
    later = time.time() + POOL_AGE + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert clear_pools(store) == (1, 4)


def test_files_that_builds_moved_out_of_workdirs(tmp_path: Path) -> None:
    folder = tmp_path / "aside" / "zlib"
    (folder / "1-folder").mkdir(parents=True)
    (folder / "2-file").write_text("text")
    assert clear_aside(tmp_path) == (2, [])
    assert not (tmp_path / "aside").exists()
    assert clear_aside(tmp_path) == (0, [])
