from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings

from prov.errors import CaptureError
from prov.store.objects import MODE_FILE
from prov.store.repository import Store
from prov.worktree import scan, snapshot
from prov.worktree.attributes import Pair, at_path, read_listing
from prov.worktree.exclude import DEFAULT, Exclude
from tests.trees import Step, carry_out, describe, steps
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import as_nobody, open_folder, scratch

__all__ = ["open_folder"]  # a fixture
SETTLED = 3 * snapshot.TICK_NS / 1e9
"""Seconds after which a written file no longer counts as new."""


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cache_does_not_change_what_is_recorded(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if processes == 2:
        monkeypatch.setattr(scan, "PARALLEL_ENTRIES", 0)
        monkeypatch.setattr(scan, "SPLIT_FROM", 2)
        monkeypatch.setattr(snapshot, "PARALLEL_FILES", 2)

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


def test_a_renamed_folder_changes_its_hardlink_group(work: Work, top: Path, memory: Path) -> None:
    for name in "abc":
        (top / name).mkdir()
    (top / "a" / "f").write_text("x")
    for name in "bc":
        os.link(top / "a" / "f", top / name / "f")
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    (top / "a").rename(top / "z")  # does not change the stats of b and c
    assert work.capture(top, memory=memory).pair == work.capture(top).pair


def test_a_hardlink_group_survives_a_new_device_number(work: Work, top: Path, memory: Path) -> None:
    for name in "ab":
        (top / name).mkdir()
        (top / name / "own").write_text(name)
    (top / "a" / "f").write_text("x")
    os.link(top / "a" / "f", top / "b" / "f")
    time.sleep(SETTLED)
    with work.store.objects.writer() as writer:
        found = snapshot.capture(work.store, top, writer)
    for path, folder in found.folders.items():
        found.folders[path] = folder._replace(
            links=tuple((1, inode, name) for _, inode, name in folder.links)
        )
    snapshot.remember(found, memory)
    (top / "a" / "new").write_text("only this folder changes")
    again = work.capture(top, memory=memory)
    assert (again.pair, again.read) == (work.capture(top).pair, 1)


def tree_of_files(top: Path, count: int) -> None:
    for number in range(count):
        path = top / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n")


FAKED_MODES = {"null": 0o020666, "su": 0o104755, "spool": 0o042775, "link": 0o120777}


def faked(top: Path) -> dict[bytes, scan.Faked]:
    """Return fakeroot's attributes: a device, a setuid file, owners of a file, link and folder."""
    (top / "spool").mkdir()
    (top / "null").write_text("")
    (top / "su").write_text("#!/bin/sh\n")
    (top / "spool/plain").write_text("plain\n")
    (top / "link").symlink_to("su")
    owners = {"null": (0, 0), "su": (0, 5), "spool": (1234, 5678), "link": (7, 7)}
    rdev = {"null": os.makedev(1, 3)}
    return {
        name.encode(): scan.Faked(
            (top / name).lstat().st_ino, mode, owners[name], rdev.get(name, 0)
        )
        for name, mode in FAKED_MODES.items()
    }


def test_fakeroot_overrides_the_disk(work: Work, top: Path, memory: Path) -> None:
    fakes = faked(top)
    first = work.capture(top, memory=memory, faked=fakes)
    listing = read_listing(work.store.objects, first.pair)
    assert {
        name: (node.mode, node.owner, node.rdev) for name, node in listing.items() if name != b"."
    } == {
        b"null": (0o020666, (0, 0), (1, 3)),
        b"su": (0o104755, (0, 5), None),
        b"link": (0o120777, (7, 7), None),
        b"spool": (0o040755, (0, 0), None),  # its own line is in it
    }
    own = read_listing(work.store.objects, listing[b"spool"].pair)[b"."]
    assert (own.mode, own.owner) == (0o042775, (1234, 5678))
    again = work.capture(top, memory=memory, faked=fakes)
    assert again.pair == first.pair
    # a new file of that name has a different owner
    (top / "new").write_text("#!/bin/sh\n")
    (top / "new").rename(top / "su")
    after = read_listing(work.store.objects, work.capture(top, memory=memory, faked=fakes).pair)
    assert (after[b"su"].mode, after[b"su"].owner) == (MODE_FILE, (0, 0))
    assert after[b"null"].mode == 0o020666


def test_owners_are_restored_for_root(work: Work, top: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    fakes = faked(top)
    pair = work.capture(top, faked=fakes).pair
    work.checkout(tmp_path / "out", pair)
    for name, (_, mode, owner, rdev, _) in fakes.items():
        state = (tmp_path / "out" / name.decode()).lstat()
        assert (state.st_mode, (state.st_uid, state.st_gid), state.st_rdev) == (mode, owner, rdev)
    assert work.capture(tmp_path / "out").pair.tree == pair.tree


def test_an_unchanged_directory_is_not_read(work: Work, top: Path, memory: Path) -> None:
    tree_of_files(top, 50)
    time.sleep(SETTLED)
    first = work.capture(top, memory=memory)
    assert first.read == 50
    again = work.capture(top, memory=memory)
    assert (again.read, again.pair) == (0, first.pair)


def test_only_changed_files_of_a_directory_are_read(work: Work, top: Path, memory: Path) -> None:
    tree_of_files(top, 50)
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    (top / "d3" / "f3").write_text("changed\n")
    (top / "d1" / "new").write_text("new\n")
    os.utime(top / "d0" / "f0", ns=(1, 1))
    os.rename(top / "d2", top / "renamed")
    found = work.capture(top, memory=memory)
    in_renamed = len(list((top / "renamed").iterdir()))
    assert found.read == 3 + in_renamed
    assert found.pair == work.capture(top).pair


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


GARBAGE = [
    b"",
    b"x",
    marshal.dumps(None),
    marshal.dumps((1, 2)),
    marshal.dumps((99, (b"", None), {})),
    b"\xff" * 100,
]


@pytest.mark.parametrize("damage", [None, *GARBAGE, "cut"], ids=repr)
def test_a_missing_or_damaged_cache_changes_nothing(
    work: Work, top: Path, memory: Path, damage: bytes | str | None
) -> None:
    tree_of_files(top, 10)
    first = work.capture(top, memory=memory)
    if damage is None:
        memory.unlink()
    else:
        memory.write_bytes(memory.read_bytes()[:200] if isinstance(damage, str) else damage)
    again = work.capture(top, memory=memory)
    assert (again.read, again.pair) == (10, first.pair)


def test_the_cache_of_another_store_is_not_used(
    work: Work, top: Path, memory: Path, tmp_path: Path
) -> None:
    tree_of_files(top, 10)
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    other = Work(Store.create(tmp_path / "other.git"))
    assert other.capture(top, memory=memory).read == 10


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


@pytest.mark.parametrize("size", [1000, snapshot.STREAM_FROM], ids=["whole", "streamed"])
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
    assert looks >= 2 * snapshot.READ_AGAIN
    assert sorted(work.store.objects.folder.iterdir()) == before


@pytest.mark.parametrize("size", [20 << 20])
def test_a_file_that_changes_once_is_read_again(
    work: Work, top: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = top / "f"
    path.write_bytes(b"a" * size)
    changed = threading.Event()
    whole = snapshot._stream

    def meanwhile(*arguments: object) -> object:
        answer = whole(*arguments)  # type: ignore[arg-type]
        if not changed.is_set():
            changed.set()
            with open(path, "ab") as stream:
                stream.write(b"end")
        return answer

    monkeypatch.setattr(snapshot, "_stream", meanwhile)
    node = at_path(work.store.objects, work.capture(top).pair, b"f")
    assert node is not None
    assert b"".join(work.store.objects.stream_blob(node.oid)).endswith(b"aend")


def test_a_file_deleted_during_a_capture_is_named(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "f").write_text("x")
    found = snapshot._unknown_files

    def gone(*arguments: object) -> object:
        (top / "f").unlink()
        return found(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "_unknown_files", gone)
    with pytest.raises(CaptureError, match="top/f was deleted"):
        work.capture(top)


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


def test_a_live_directory_lists_no_folder_that_vanished(
    work: Work, top: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "DEBIAN").mkdir()
    (top / "text").write_text("text")
    work.capture(top, memory=memory)
    plain = os.scandir

    def vanishing(path: bytes) -> object:
        if path.endswith(b"/DEBIAN"):
            raise FileNotFoundError(2, "No such file or directory")
        return plain(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    with pytest.raises(CaptureError):
        work.capture(top, memory=memory)
    found = work.capture(top, memory=memory, live=True)
    assert set(read_listing(work.store.objects, found.pair)) == {b".", b"text"}


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


def test_two_processes_record_the_same_as_one(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree_of_files(top, 200)
    alone = work.capture(top).pair
    other = Work(Store.create(top.parent / "other.git"))
    monkeypatch.setattr(snapshot, "PARALLEL_FILES", 2)
    assert other.capture(top).pair == alone
    other.checkout(top.parent / "back", alone)
    assert describe(top.parent / "back") == describe(top)


def test_a_failure_in_the_second_process_is_named(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PARALLEL_FILES", 2)
    tree_of_files(top, 200)
    found = snapshot._unknown_files

    def gone(*arguments: object) -> list[tuple[bytes, int, object]]:
        wanted = found(*arguments)  # type: ignore[arg-type]
        path, _, seen = wanted[-1]
        os.unlink(os.path.join(os.fsencode(top), path, seen.name))
        return wanted  # type: ignore[return-value]

    monkeypatch.setattr(snapshot, "_unknown_files", gone)
    before = sorted(work.store.objects.folder.iterdir())
    with pytest.raises(CaptureError, match="was deleted"):
        work.capture(top)
    assert sorted(work.store.objects.folder.iterdir()) == before


# patterns, expected excluded paths of ALL; the test also compares with git
ALL = [
    "a.o",
    "keep.o",
    "src/a.c",
    "src/b.o",
    "src/temp/x",
    "temp/x",
    "temp/y",
    "recipe-sysroot/usr/f",
    "d e/f",
    "x/y/z",
]
PATTERNS = [
    (),
    DEFAULT,
    ("*.o",),
    ("*.o", "!keep.o"),
    ("temp/",),
    ("/temp/",),
    ("/temp/*", "!/temp/y"),
    ("/src/temp/", "/x/y/"),
    ("/temp/", "!/temp/"),
    ("src/**", "!src/a.c"),
    ("**/temp",),
    ("d e/",),
    ("/x/*/z",),
    ("# comment", "", "\\#x"),
    ("*",),
]


@pytest.mark.parametrize("patterns", PATTERNS, ids=" ".join)
def test_patterns_exclude_what_git_ignores(
    work: Work, top: Path, patterns: tuple[str, ...]
) -> None:
    for name in ALL:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    repository = top.parent / "repository"
    shutil.copytree(top, repository)
    (top.parent / "patterns").write_text("".join(f"{pattern}\n" for pattern in patterns))
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    command = [
        "git",
        "-C",
        str(repository),
        "ls-files",
        "-z",
        "--others",
        f"--exclude-from={top.parent / 'patterns'}",
    ]
    kept = set(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    ) - {""}
    work.checkout(top.parent / "back", work.capture(top, exclude=patterns).pair)
    found = {
        str(path.relative_to(top.parent / "back"))
        for path in (top.parent / "back").rglob("*")
        if path.is_file()
    }
    assert found == kept


def test_a_changed_pattern_overrides_the_cache(work: Work, top: Path, memory: Path) -> None:
    for name in ALL:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    time.sleep(SETTLED)
    for patterns in PATTERNS:
        assert (
            work.capture(top, memory=memory, exclude=patterns).pair
            == work.capture(top, exclude=patterns).pair
        ), patterns


def test_the_default_excludes_sysroots_and_logs(work: Work, top: Path) -> None:
    for name in ("recipe-sysroot", "recipe-sysroot-native", "temp", "sub"):
        (top / name / "temp").mkdir(parents=True)
    pair = work.capture(top, exclude=Exclude().patterns).pair
    assert sorted(read_listing(work.store.objects, pair)) == [b".", b"sub"]


@settings(max_examples=30)
@given(made=steps(changes=False, max_size=20))
def test_an_outputs_id_does_not_depend_on_place_or_time(
    work: Work, tmp_path: Path, made: list[Step]
) -> None:
    with scratch(tmp_path) as here:
        carry_out(here / "a" / "image", [step._replace(mtime=0) for step in made])
        carry_out(here / "elsewhere" / "image", made)
        (here / "a" / "other").write_text("x")
        assert work.output(here / "a", b"image") == work.output(here / "elsewhere", b"image")


def test_an_outputs_groups_are_those_inside_it(work: Work, tmp_path: Path) -> None:
    for name in ("alone/f", "beside/f", "both/f"):
        (tmp_path / "a" / name).parent.mkdir(parents=True)
    (tmp_path / "a" / "alone" / "f").write_text("x")
    os.link(tmp_path / "a" / "alone" / "f", tmp_path / "a" / "beside" / "f")
    (tmp_path / "a" / "both" / "f").write_text("x")
    os.link(tmp_path / "a" / "both" / "f", tmp_path / "a" / "both" / "g")

    def links(path: bytes) -> list[bytes]:
        pair: Pair = work.output(tmp_path / "a", path)
        return [
            node.link
            for name, node in sorted(read_listing(work.store.objects, pair).items())
            if name != b"."
        ]

    assert links(b"alone") == [b""]
    assert links(b"both") == [b"both/f", b"both/f"]
