"""Failures of checkouts in one or two processes are reported; no file outside is written."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from prov.errors import CheckoutError, ProvError, StoreError, SysrootError
from prov.store.objects import MODE_FILE
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import EMPTY, FileNode, Pair, write_listing
from prov.worktree.checkout import checkout
from prov.worktree.placer import PrivatePlacer
from tests.worktree.conftest import Work
from tests.worktree.sharing import HERE, Noting, OnlyThere, Sharing, only_there, sharing
from tests.worktree.test_checkout import with_attributes
from tests.worktree.test_merge import Spec, build

__all__ = ["only_there", "sharing"]  # fixtures

pytestmark = pytest.mark.process


# errors


def many_folders(work: Work, *, name: str = "d") -> Pair:
    with work.store.objects.writer() as writer:
        return build(
            writer,
            {f"{name}{number:02}": {"f": str(number), "e": {"g": "x"}} for number in range(30)},
        )


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


FAILURES: dict[str, tuple[Callable[[], object], type[ProvError], str]] = {
    "no room": (
        raising(OSError(errno.ENOSPC, "No space left")),
        CheckoutError,
        r"cannot write .*b: .*No space",
    ),
    "damage": (
        raising(StoreError("object 1 is damaged", hint="fsck")),
        StoreError,
        "object 1 is damaged",
    ),
    "no fit": (
        raising(SysrootError("bin/f: no room", hint="shorter")),
        SysrootError,
        "bin/f: no room",
    ),
    "too deep": (raising(RecursionError("depth")), CheckoutError, "cannot write .*: depth"),
    "killed": (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        ProvError,
        "placing files was killed by SIGKILL",
    ),
    "gone": (lambda: os._exit(5), ProvError, "placing files exited with status 5"),
}


@pytest.mark.parametrize("programs", [False, True], ids=["libraries", "programs"])
@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_of_the_second_process_is_raised_here(
    work: Work,
    tmp_path: Path,
    sharing: Sharing,
    nothing_is_left: None,
    only_there: OnlyThere,
    failure: str,
    programs: bool,
) -> None:
    sharing.since(2)
    action, kind, said = FAILURES[failure]
    pair = many_folders(work)
    if programs:
        with work.store.objects.writer() as writer:
            pair = build(writer, {f"{number}": {"bin": {"f": str(number)}} for number in range(30)})
    placer = Noting(PrivatePlacer(work.store.objects), tmp_path / "notes", only_there(action))
    with pytest.raises(kind, match=said) as raised:
        checkout(work.store.objects, tmp_path / "b", pair, placer=placer)
    assert raised.value.hint


def test_an_error_here_ends_the_second_process(
    work: Work, tmp_path: Path, sharing: Sharing, nothing_is_left: None
) -> None:
    sharing.since(2)

    def fail_here(path: bytes) -> None:
        if os.getpid() == HERE:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        signal.pause()

    placer = Noting(PrivatePlacer(work.store.objects), tmp_path / "notes", fail_here)
    with pytest.raises(CheckoutError, match="Disk quota exceeded"):
        checkout(work.store.objects, tmp_path / "b", many_folders(work), placer=placer)


def test_an_obstacle_for_the_second_process_is_named(
    work: Work,
    tmp_path: Path,
    sharing: Sharing,
    nothing_is_left: None,
    only_there: OnlyThere,
) -> None:
    sharing.since(2)
    pair = many_folders(work)

    def put_in_the_way() -> None:
        for folder in (tmp_path / "b").iterdir():
            with suppress(FileExistsError):
                (folder / "f").symlink_to("somewhere")

    placer = Noting(
        PrivatePlacer(work.store.objects), tmp_path / "notes", only_there(put_in_the_way)
    )
    with pytest.raises(CheckoutError, match=r"File exists: b'f'"):
        checkout(work.store.objects, tmp_path / "b", pair, placer=placer)


# symlinks in the path


FOLDERS: Spec = {
    "0": {"f": "x"},
    "1": {"f": "x"},
    "a": {"b": {"f": "x"}},
    "bin": {"f": "x"},
    "usr": {"bin": {"f": "x"}},
    "z": {"f": "x"},
}
SWAPPED = [
    # folder, the file at whose placement it becomes a link, number of processes
    ("a", b"0/f", 1),
    ("a", b"0/f", 2),
    ("a", b"z/f", 1),  # its content is queued
    ("a/b", b"z/f", 1),
    ("bin", b"0/f", 1),
    ("bin", b"0/f", 2),
    ("usr", b"z/f", 1),
    ("usr", b"z/f", 2),
    ("usr/bin", b"z/f", 1),
]


@pytest.mark.parametrize(("folder", "when", "processes"), SWAPPED)
def test_a_link_in_the_place_of_a_queued_folder_is_not_followed(
    work: Work,
    tmp_path: Path,
    sharing: Sharing,
    nothing_is_left: None,
    folder: str,
    when: bytes,
    processes: int,
) -> None:
    sharing.since(2 if processes == 2 else 1 << 30)
    outside, place = tmp_path / "outside", tmp_path / "top" / folder
    for name in ("b", "bin"):
        (outside / name).mkdir(parents=True)
    with work.store.objects.writer() as writer:
        pair = build(writer, FOLDERS)

    def before(path: bytes) -> None:
        if path == when:
            place.rename(tmp_path / "moved")
            place.symlink_to(outside)
        while path == b"1/f" and when == b"0/f" and not place.is_symlink():
            time.sleep(0.001)  # until the other process has started

    placer = Noting(PrivatePlacer(work.store.objects), tmp_path / "notes", before)
    with pytest.raises(CheckoutError, match=r"Not a directory: b'(a|b|bin|usr)'"):
        checkout(work.store.objects, tmp_path / "top", pair, placer=placer)
    assert bool(sharing.shared) == (processes == 2)
    assert [path for path in outside.rglob("*") if path.is_file()] == []


# depth

DEPTH = 600
"""A depth beyond Python's recursion limit."""


def nested(work: Work, text: bytes) -> Pair:
    with work.store.objects.writer() as writer:
        pair = beside = build(writer, {"f": text.decode()})
        for _ in range(DEPTH):
            pair = write_listing(writer, {b"d": FileNode(0o40755, pair=pair)}, mtimes=False)
        folders = {b"d": FileNode(0o40755, pair=pair), b"beside": FileNode(0o40755, pair=beside)}
        return write_listing(writer, folders, mtimes=False)


def innermost(top: Path) -> bytes | None:
    """Return the content of the file below all folders."""
    fd = os.open(top, os.O_RDONLY)
    with suppress(FileNotFoundError):
        while True:
            fd, outer = os.open("d", os.O_RDONLY, dir_fd=fd), fd
            os.close(outer)
    try:
        with (
            suppress(FileNotFoundError),
            os.fdopen(os.open("f", os.O_RDONLY, dir_fd=fd), "rb") as stream,
        ):
            return stream.read()
        return None
    finally:
        os.close(fd)


@pytest.mark.parametrize("since", [1 << 30, 2], ids=["one", "two"])
def test_deeply_nested_folders_are_refused_or_written(
    work: Work, tmp_path: Path, sharing: Sharing, nothing_is_left: None, since: int
) -> None:
    sharing.since(since)
    one, two = nested(work, b"one"), nested(work, b"two")
    top = tmp_path / "b"
    try:
        for now, wanted, text in ((EMPTY, one, b"one"), (one, two, b"two")):
            try:
                work.checkout(top, wanted, now=now)
            except CheckoutError as error:
                assert error.hint
                assert innermost(top) != text
            else:
                assert innermost(top) == text
    finally:
        while (top / "d").exists():  # shutil cannot recurse deeper
            (top / "d").rename(tmp_path / "outer")
            if (tmp_path / "outer" / "d").exists():
                (tmp_path / "outer" / "d").rename(top / "d")
            shutil.rmtree(tmp_path / "outer")


# trees that no capture writes

CRAFTED: dict[str, Callable[[ObjectWriter], dict[bytes, FileNode]]] = {
    "a link with a NUL": lambda writer: {b"l": FileNode(0o120777, writer.add("blob", b"a\0b"))},
    "a link to nothing": lambda writer: {b"l": FileNode(0o120777, writer.add("blob", b""))},
    "an mtime of no clock": lambda writer: {
        b"f": FileNode(MODE_FILE, writer.add("blob", b"x"), mtime=10**40)
    },
    "a device of no number": lambda writer: {b"f": FileNode(0o020644, rdev=(10**20, 1))},
    "an xattr with a NUL": lambda writer: {
        b"f": FileNode(MODE_FILE, writer.add("blob", b"x"), xattrs=((b"user.\0", b"x"),))
    },
}


@pytest.mark.parametrize("what", CRAFTED)
def test_an_impossible_entry_is_an_error(work: Work, tmp_path: Path, what: str) -> None:
    with work.store.objects.writer() as writer:
        pair = write_listing(writer, CRAFTED[what](writer), mtimes=True)
    with pytest.raises(CheckoutError, match="cannot write") as raised:
        work.checkout(tmp_path / "b", pair)
    assert raised.value.hint


FIELDS = [
    b"mode=x",
    b"mtime=x",
    b"mtime=1",
    b"type=x",
    b"rdev=1",
    b"mode=0600",
    b"fixme=x",
    b"xattr.a=!",
]


@pytest.mark.parametrize("fields", FIELDS)
def test_invalid_attributes_are_an_error(work: Work, tmp_path: Path, fields: bytes) -> None:
    """This includes attributes of a missing file."""
    with pytest.raises(StoreError, match="attributes of 'f'") as raised:
        work.checkout(tmp_path / "b", with_attributes(work.store, b"f\t" + fields + b"\n", []))
    assert raised.value.hint


def test_only_equal_files_are_hardlinked(work: Work, tmp_path: Path) -> None:
    """A merge can combine files with equal labels from different groups."""
    with work.store.objects.writer() as writer:
        spec: Spec = {
            "x": ("2", 0o644, "x"),
            "y": ("2", 0o644, "x"),
            "z": ("1", 0o644, "x"),
            "w": ("2", 0o755, "x"),
        }
        pair = build(writer, spec, mtimes={})
    work.checkout(tmp_path / "b", pair)
    assert {name: (tmp_path / "b" / name).read_text() for name in "wxyz"} == {
        "w": "2",
        "x": "2",
        "y": "2",
        "z": "1",
    }
    assert [(tmp_path / "b" / name).stat().st_nlink for name in "wxyz"] == [1, 2, 2, 1]
