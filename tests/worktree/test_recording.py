from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings

from prov.errors import CaptureError
from prov.store.repository import Store
from prov.worktree import reading, recording, scan
from prov.worktree.attributes import at_path, read_listing
from prov.worktree.folders import ScannedFile
from tests.trees import Step, carry_out, describe, steps
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import open_folder, scratch

__all__ = ["open_folder"]  # a fixture
from tests.worktree.conftest import SETTLED, tree_of_files


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cache_does_not_change_what_is_recorded(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if processes == 2:
        monkeypatch.setattr(scan, "PARALLEL_ENTRIES", 0)
        monkeypatch.setattr(scan, "SPLIT_FROM", 2)
        monkeypatch.setattr(recording, "PARALLEL_BYTES", 0)

    @settings(max_examples=50 if processes == 1 else 25)
    @given(made=steps(changes=False, max_size=20), changed=steps(changes=True))
    def check(made: list[Step], changed: list[Step]) -> None:
        with scratch(tmp_path) as here:
            carry_out(here / "a", made)
            time.sleep(SETTLED)
            work.capture(here / "a", memory=here / "memory")
            for number in range(0, len(changed) + 1, 3):
                carry_out(here / "a", changed[number : number + 3])
                quick = work.capture(here / "a", memory=here / "memory")
                slow = work.capture(here / "a")
                assert quick.pair == slow.pair
                with work.store.objects.writer() as writer:
                    assert quick.output(b"", writer) == slow.output(b"", writer)

    check()


def test_a_change_deep_inside_is_seen_by_two_scanning_processes(
    work: Work, top: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "PARALLEL_ENTRIES", 0)
    monkeypatch.setattr(scan, "SPLIT_FROM", 1)
    for number in range(4):
        (top / str(number) / "b" / "c").mkdir(parents=True)
        (top / str(number) / "b" / "c" / "f").write_text("one")
    work.capture(top, memory=memory)
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    for number in range(4):
        (top / str(number) / "b" / "c" / "f").write_text("two")
        assert work.capture(top, memory=memory).pair == work.capture(top).pair


@pytest.mark.parametrize("processes", [1, 2])
def test_changing_entries_of_a_live_directory_are_skipped(
    work: Work, top: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if processes == 2:
        monkeypatch.setattr(scan, "PARALLEL_ENTRIES", 0)
        monkeypatch.setattr(scan, "SPLIT_FROM", 2)
    for name in ("a", "b", "c", "d"):
        (top / name / "stays").mkdir(parents=True)
        (top / name / "stays/text").write_text(name)
    work.capture(top, memory=memory)
    wanted = work.capture(top).pair
    going = threading.Event()

    def come_and_go() -> None:
        while not going.is_set():
            for path in (top / "a/DEBIAN", top / "b.lock", top / "c/stays/DEBIAN"):
                path.mkdir(exist_ok=True)
                (path / "control").write_text("x" * 100)
                shutil.rmtree(path)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(100):
            found = work.capture(top, memory=memory, live=True).pair
    finally:
        going.set()
        thread.join()
    assert at_path(work.store.objects, found, b"d/stays/text") is not None
    assert work.capture(top, memory=memory).pair.tree == wanted.tree


def test_two_processes_record_the_same_as_one(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree_of_files(top, 200)
    alone = work.capture(top).pair
    other = Work(Store.create(top.parent / "other.git"))
    monkeypatch.setattr(recording, "PARALLEL_BYTES", 0)
    assert other.capture(top).pair == alone
    other.checkout(top.parent / "back", alone)
    assert describe(top.parent / "back") == describe(top)


def test_a_failure_in_the_second_process_is_named(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PARALLEL_BYTES", 0)
    tree_of_files(top, 200)
    plain, here = reading.read_files, os.getpid()

    def gone(prefix: bytes, files: list[ScannedFile], *arguments: object, live: bool) -> object:
        if os.getpid() != here:
            os.unlink(prefix + files[-1].name)
        return plain(prefix, files, *arguments, live=live)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "read_files", gone)
    before = sorted(work.store.objects.folder.iterdir())
    with pytest.raises(CaptureError, match="was deleted"):
        work.capture(top)
    assert sorted(work.store.objects.folder.iterdir()) == before


def test_a_vanished_first_link_is_in_no_group(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (top / name).mkdir()
    (top / "a" / "f").write_text("x")
    for name in "bc":
        os.link(top / "a" / "f", top / name / "f")
    plain = reading.read_files

    def gone(prefix: bytes, *arguments: object, live: bool) -> object:
        if prefix.endswith(b"/a/"):
            os.unlink(prefix + b"f")
        return plain(prefix, *arguments, live=live)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "read_files", gone)
    listing = {
        name: read_listing(work.store.objects, node.pair)
        for name, node in read_listing(
            work.store.objects, work.capture(top, live=True).pair
        ).items()
        if name != b"."
    }
    assert set(listing[b"a"]) == {b"."}
    assert listing[b"b"][b"f"].link == listing[b"c"][b"f"].link == b"b/f"


def test_one_large_folder_is_shared_by_two_processes(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch, two_processors: None
) -> None:
    for number in range(40):
        (top / str(number)).write_bytes(bytes(10_000) + b"%d" % number)
    alone = work.capture(top).pair
    other = Work(Store.create(top.parent / "other.git"))
    monkeypatch.setattr(recording, "PARALLEL_BYTES", 0)
    pieces: list[int] = []
    plain = reading.read_files

    def counted(prefix: bytes, files: list[ScannedFile], *arguments: object, live: bool) -> object:
        pieces.append(len(files))
        return plain(prefix, files, *arguments, live=live)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "read_files", counted)
    snapshot = other.capture(top)
    assert (snapshot.pair, snapshot.read) == (alone, 40)
    assert max(pieces, default=0) <= 1
    assert other.capture(top).pair == alone
