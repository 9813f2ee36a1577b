"""Tests of watching directories in which folders appear."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.reads.growing import GrowingWatch, WatchedDirectory, joined
from prov.reads.inotify import IN_OPEN

SKIPPED = re.compile(rb"temp|deep/temp")


class Watched:
    """A watched directory, and the opened paths in it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.opened: list[str] = []
        self.watch = GrowingWatch(self.hear, SKIPPED)
        self.directory = WatchedDirectory(os.fsencode(top))

    def hear(self, _: WatchedDirectory, folder: bytes, name: bytes, mask: int) -> None:
        if mask & IN_OPEN:
            self.opened.append(joined(folder, name).decode())

    def begin(self) -> None:
        self.watch.add(self.directory)
        self.take()

    def take(self) -> list[str]:
        """Return the opened paths since the last call, and forget those of the search itself."""
        self.watch.drain()
        opened, self.opened = list(dict.fromkeys(self.opened)), []
        self.watch.drain()
        self.opened.clear()
        self.watch.repeat()
        return opened

    def read(self, *names: str) -> None:
        for name in names:
            (self.top / name).read_bytes()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    top = tmp_path / "top"
    for name in ("file", "deep/file", "deep/er/file", "temp/file", "deep/temp/file"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("")
    made = Watched(top)
    made.begin()
    yield made
    made.watch.remove(made.directory)
    assert len(made.watch) == 0


def test_opens_in_all_folders_are_reported_once(watched: Watched) -> None:
    for _ in range(2):
        watched.read("file", "deep/er/file", "deep/file", "deep/er/file")
        assert watched.take() == ["file", "deep/er/file", "deep/file"]


def test_skipped_paths_are_not_reported(watched: Watched) -> None:
    watched.read("temp/file", "deep/temp/file")
    os.listdir(watched.top / "deep/temp")
    (watched.top / "deep/temp/new").mkdir()
    assert watched.take() == []


def test_folders_that_appear_are_watched(watched: Watched) -> None:
    shutil.copytree(watched.top / "deep", watched.top / "new/deep")
    watched.take()
    watched.read("new/deep/er/file")
    assert watched.take() == ["new/deep/er/file"]


def test_a_folder_that_is_created_again_is_watched(watched: Watched) -> None:
    for _ in range(2):
        shutil.rmtree(watched.top / "deep")
        (watched.top / "deep/er").mkdir(parents=True)
        watched.take()
        (watched.top / "deep/er/again").touch()
        watched.take()
        watched.read("deep/er/again")
        assert watched.take() == ["deep/er/again"]


def test_a_moved_folder_has_its_new_path(watched: Watched) -> None:
    (watched.top / "deep").rename(watched.top / "moved")
    watched.take()
    watched.read("moved/er/file")
    assert watched.take() == ["moved/er/file"]
    (watched.top / "moved").rename(watched.top.parent / "gone")
    watched.take()
    (watched.top.parent / "gone/er/file").read_bytes()
    assert watched.take() == []


def test_a_deleted_directory_is_not_watched(watched: Watched) -> None:
    shutil.rmtree(watched.top)
    watched.take()
    assert not watched.directory.is_watched
    assert len(watched.directory) == 0
    watched.top.mkdir()
    (watched.top / "file").write_text("")
    watched.begin()
    watched.read("file")
    assert watched.take() == ["file"]


def test_a_missing_directory_has_no_problem(tmp_path: Path) -> None:
    made = Watched(tmp_path / "none")
    made.begin()
    assert (made.directory.is_watched, made.directory.problem) == (False, "")


def test_links_to_folders_are_not_followed(watched: Watched, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("")
    (watched.top / "link").symlink_to(outside)
    watched.take()
    watched.read("link/file")
    assert watched.take() == []


def test_after_an_overflow_nothing_is_watched(watched: Watched) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for _ in range(limit // 2 + 1):
        watched.read("file", "deep/file")
    watched.take()
    assert (watched.directory.problem, watched.directory.is_watched) == ("overflow", False)
    watched.begin()
    assert watched.directory.problem == ""
    watched.read("file")
    assert watched.take() == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read all folders")
def test_an_unreadable_folder_is_a_problem(tmp_path: Path) -> None:
    for name in ("a", "closed", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    (tmp_path / "closed").chmod(0)
    made = Watched(tmp_path)
    made.begin()
    assert made.directory.problem == "cannot watch a folder: Permission denied"
    made.read("a/file", "z/file")
    assert made.take() == ["a/file", "z/file"]
    (tmp_path / "closed").chmod(0o700)
