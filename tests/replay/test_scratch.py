"""Scratch directories: created, deleted, and left by killed processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.replay.scratch import SCRATCH_FOLDER, open_scratch, scratch_folder, unmount_below
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


def test_a_folder_is_removed_at_the_end(store: Store) -> None:
    with scratch_folder(store) as folder:
        (folder / "file").write_text("text")
        assert folder.parent == store.cache / SCRATCH_FOLDER
        assert folder.with_suffix(".lock").exists()
    assert not list((store.cache / SCRATCH_FOLDER).iterdir())


def test_a_folder_of_a_killed_process_is_removed(store: Store) -> None:
    left = store.cache / SCRATCH_FOLDER / "0123456789ab"
    left.mkdir(parents=True)
    (left / "file").write_text("text")
    left.with_suffix(".lock").touch()
    sysroots = sysroots_of(store, False)
    with open_scratch(store, lambda _: sysroots, None, search_path="") as scratch:
        assert not left.exists()
        assert scratch.alias == scratch.folder.name
    assert not list((store.cache / SCRATCH_FOLDER).iterdir())


def test_a_folder_in_use_is_left_alone(store: Store) -> None:
    sysroots = sysroots_of(store, False)
    with (
        scratch_folder(store) as other,
        open_scratch(store, lambda _: sysroots, None, search_path=""),
    ):
        assert other.exists()


def test_nothing_to_unmount(tmp_path: Path) -> None:
    unmount_below(tmp_path)
