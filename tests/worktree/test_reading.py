from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from prov.errors import CaptureError
from prov.store.repository import Store
from prov.worktree import reading, recording
from prov.worktree.attributes import at_path, read_listing
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import as_nobody, open_folder

__all__ = ["open_folder"]  # a fixture
from tests.worktree.conftest import SETTLED


def rewrite_unseen(path: Path, text: str) -> None:
    """Write the same number of bytes and restore the mtime, as `touch -r` does."""
    before = path.with_name("stamp")
    subprocess.run(["touch", "-r", path, before], check=True)
    with open(path, "r+") as stream:
        stream.write(text)
    subprocess.run(["touch", "-r", before, path], check=True)
    before.unlink()


@pytest.mark.parametrize("settled", [True, False])
def test_a_rewrite_with_the_same_size_and_mtime_is_detected(
    work: Work, top: Path, memory: Path, settled: bool
) -> None:
    path = top / "f"
    path.write_text("one")
    if settled:
        time.sleep(SETTLED)
    work.capture(top, memory=memory)
    state = path.stat()
    rewrite_unseen(path, "two")
    assert (path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino) == (
        state.st_mtime_ns,
        state.st_size,
        state.st_ino,
    )
    node = at_path(work.store.objects, work.capture(top, memory=memory).pair, b"f")
    assert node is not None
    assert work.store.objects.blob(node.oid) == b"two"


def test_a_file_as_new_as_the_capture_is_read_again(work: Work, top: Path, memory: Path) -> None:
    for number in range(40):  # writes within one tick of the clock leave the same stat
        path = top / "f"
        path.write_text(f"{number:04}")
        os.utime(path, ns=(7, 7))
        first = work.capture(top, memory=memory)
        with open(path, "r+") as stream:
            stream.write(f"{number:03}x")
        os.utime(path, ns=(7, 7))
        second = work.capture(top, memory=memory)
        assert second.read == 1
        assert second.pair != first.pair
    time.sleep(SETTLED)
    assert work.capture(top, memory=memory).read == 1
    assert work.capture(top, memory=memory).read == 0


WRITER = """
import sys
with open(sys.argv[1], "r+b", buffering=0) as stream:
    print("ready", flush=True)
    while True:
        stream.seek(0)
        stream.write(b"x")
"""


def test_a_file_that_another_process_keeps_writing_is_named(work: Work, top: Path) -> None:
    (top / "busy.log").touch()
    os.truncate(
        top / "busy.log", 96 << 20
    )  # takes long enough to read that even on a busy machine a write happens meanwhile
    command = [sys.executable, "-c", WRITER, str(top / "busy.log")]
    before = sorted(work.store.objects.folder.iterdir())
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()
            with pytest.raises(CaptureError, match=r"busy\.log keeps changing"):
                work.capture(top)
        finally:
            busy.kill()
    assert sorted(work.store.objects.folder.iterdir()) == before


@pytest.mark.parametrize("size", [1000, reading.STREAM_FROM], ids=["whole", "streamed"])
def test_a_file_written_during_every_read_is_named(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path, looks = top / "busy.log", 0
    path.write_bytes(b"a" * size)
    inode, real = path.stat().st_ino, os.fstat

    def meanwhile(fd: int) -> os.stat_result:
        nonlocal looks
        if real(fd).st_ino == inode:
            looks += 1
            with open(path, "ab") as stream:
                stream.write(b"end")
        return real(fd)

    monkeypatch.setattr(os, "fstat", meanwhile)
    before = sorted(work.store.objects.folder.iterdir())
    with pytest.raises(CaptureError, match=r"busy\.log keeps changing"):
        work.capture(top)
    assert looks >= 2 * reading.READ_AGAIN
    assert sorted(work.store.objects.folder.iterdir()) == before


@pytest.mark.parametrize("size", [20 << 20])
def test_a_file_that_changes_once_is_read_again(
    work: Work, top: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = top / "f"
    path.write_bytes(b"a" * size)
    changed = threading.Event()
    whole = reading._stream

    def meanwhile(*arguments: object) -> object:
        answer = whole(*arguments)  # type: ignore[arg-type]
        if not changed.is_set():
            changed.set()
            with open(path, "ab") as stream:
                stream.write(b"end")
        return answer

    monkeypatch.setattr(reading, "_stream", meanwhile)
    node = at_path(work.store.objects, work.capture(top).pair, b"f")
    assert node is not None
    assert b"".join(work.store.objects.stream_blob(node.oid)).endswith(b"aend")


def test_a_file_deleted_during_a_capture_is_named(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "f").write_text("x")
    plain = reading.read_files

    def gone(*arguments: object, live: bool) -> object:
        (top / "f").unlink()
        return plain(*arguments, live=live)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "read_files", gone)
    with pytest.raises(CaptureError, match="top/f was deleted"):
        work.capture(top)


def test_a_deleted_file_of_a_live_directory_is_skipped(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "goes").write_text("goes")
    (top / "stays").write_text("stays")
    os.link(top / "goes", top / "linked")
    plain = os.open

    def opened(path: bytes, *arguments: int, dir_fd: int | None = None) -> int:
        if os.fsencode(path).endswith(b"/goes"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return plain(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)
    found = work.capture(top, live=True)
    assert set(read_listing(work.store.objects, found.pair)) == {b".", b"stays", b"linked"}


def test_a_file_unreadable_to_its_owner_is_captured_with_its_mode(open_folder: Path) -> None:
    def go() -> None:
        work = Work(Store.create(open_folder / "store"))
        for what, mode in (("file", 0o200), ("folder", 0o300), ("folder", 0o000), (".", 0o100)):
            top = open_folder / f"top {what} {mode}"
            (top / "folder/deep").mkdir(parents=True)
            for name in ("file", "folder/file", "folder/deep/file"):
                (top / name).write_text(name)
            plain = work.capture(top).pair
            os.chmod(top / what, mode)
            snapshot = work.capture(top)
            assert (snapshot.pair.tree, snapshot.pair.attributes) != plain
            assert snapshot.pair.tree == plain.tree
            assert (top / what).stat().st_mode & 0o777 == mode
            assert snapshot.pair == work.capture(top).pair

    as_nobody(go)


def test_another_users_file_is_named(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's files")
    for what in ("file", "folder"):
        (open_folder / f"top {what}/folder").mkdir(parents=True)
        (open_folder / f"top {what}/file").write_text("x")
        (open_folder / f"top {what}" / what).chmod(0o000)

    def go() -> None:
        work = Work(Store.create(open_folder / "store"))
        for what in ("file", "folder"):
            with pytest.raises(CaptureError, match=f"cannot read .*top {what}/{what}: "):
                work.capture(open_folder / f"top {what}")

    as_nobody(go)


BIG = """
import sys
from pathlib import Path
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout
from prov.worktree.snapshot import capture
def peak():  # of this program alone; getrusage counts what it was forked from too
    status = dict(line.split(":") for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) // 1024)
store, here = Store.open(Path(sys.argv[1])), Path(sys.argv[2])
with store.objects.writer() as writer:
    pair = capture(store, here / "top", writer).pair
peak()
checkout(store.objects, here / "back", pair)
peak()
"""


@pytest.mark.parametrize("content", ["sparse", "random"])
def test_a_large_file_is_never_in_memory(store: Store, tmp_path: Path, content: str) -> None:
    (tmp_path / "top").mkdir()
    with open(tmp_path / "top" / "big", "wb") as stream:
        if content == "sparse":
            stream.truncate(300 << 20)
        else:
            for _ in range(6):
                stream.write(os.urandom(10 << 20))
            stream.truncate(100 << 20)
    command = [sys.executable, "-c", BIG, str(store.path), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert max(map(int, said.split())) < (200 if content == "sparse" else 90)
    subprocess.run(["cmp", tmp_path / "top" / "big", tmp_path / "back" / "big"], check=True)
    shutil.rmtree(tmp_path / "back")
