"""Tests of the states of paths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.reads.recorded import Recorded
from prov.reads.state import FileIds, States
from prov.store.repository import Store
from prov.worktree.snapshot import capture

ONE = "56a6051ca2b02b04ef92d5150c9ef600403cb1de"
"""The id of the blob `1`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with entries of all types."""
    path = tmp_path / "src"
    (path / "sub").mkdir(parents=True)
    (path / "f").write_text("1")
    (path / "l").symlink_to("f")
    os.mkfifo(path / "fifo")
    return path


def states_of(store: Store, folder: Path, directory: Path, memory: Path) -> States:
    """Return the states of files in and outside of a recorded directory."""
    directory.mkdir(exist_ok=True)
    with store.objects.writer() as writer:
        pair = capture(store, directory, writer).pair
    return States(Recorded(store.objects, bytes(directory), pair), FileIds.load(memory))


@pytest.mark.parametrize("is_recorded", [True, False])
def test_states(store: Store, tmp_path: Path, folder: Path, is_recorded: bool) -> None:
    directory = folder if is_recorded else tmp_path / "other"
    states = states_of(store, folder, directory, tmp_path / "memory")
    for name, kinds, state in (
        ("f", "o", f"file 644 {ONE}"),
        ("f", "s", f"file 644 {ONE}"),
        ("f", "w", "file 644"),
        ("l", "l", "link f"),
        ("sub", "s", "directory 755"),
        ("fifo", "s", "special 10644"),
        ("none", "m", "missing"),
        ("none/x", "m", "missing"),
        ("f/x", "m", "blocked"),
        ("l/x", "m", "linked"),
    ):
        assert states.state(bytes(folder / name), kinds) == state
    listing = states.state(bytes(folder), "d")
    assert listing.startswith("directory 755 ")


CHANGES: list[Callable[[Path], object]] = [
    lambda folder: (folder / "new").touch(),
    lambda folder: (folder / "f").unlink(),
    lambda folder: (folder / "fifo").rename(folder / "l"),
    lambda folder: (folder / "f").rename(folder / "g"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_listings_differ(
    store: Store, tmp_path: Path, folder: Path, change: Callable[[Path], object]
) -> None:
    memory = tmp_path / "memory"
    before = states_of(store, folder, folder, memory).state(bytes(folder), "d")
    (folder / "f").write_text("2")
    assert states_of(store, folder, folder, memory).state(bytes(folder), "d") == before
    change(folder)
    assert states_of(store, folder, folder, memory).state(bytes(folder), "d") != before


def test_ids_are_remembered(tmp_path: Path) -> None:
    path, memory = tmp_path / "f", tmp_path / "memory"
    path.write_text("1")
    ids = FileIds.load(memory)
    assert ids.oid(bytes(path)).hex() == ONE
    ids.save()
    assert not memory.exists()  # the file is too new
    time.sleep(0.05)
    ids.oid(bytes(path))
    ids.save()
    assert memory.exists()
    path.chmod(0)
    path.chmod(0o644)
    state = path.stat()
    path.write_text("2")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert FileIds.load(memory).oid(bytes(path)).hex() != ONE


def test_files_that_change_are_noticed(store: Store, tmp_path: Path, folder: Path) -> None:
    states = states_of(store, folder, tmp_path / "other", tmp_path / "memory")
    path = bytes(folder / "f")
    assert states.has_changed_since(path, time.time_ns() - 10**9)
    assert not states.has_changed_since(path, time.time_ns() + 10**9)
    assert not states.has_changed_since(bytes(tmp_path / "other"), 0)
    assert not states.has_changed_since(b"/proc/filesystems", 0)
    assert not states.has_changed_since(bytes(folder / "none"), 0)
