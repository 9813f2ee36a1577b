from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prov.store.objects import object_id
from prov.store.repository import Store
from prov.worktree.attributes import FileNode
from prov.worktree.path_tokens import NOWHERE, TokenPaths, tokenise
from prov.worktree.placer import (
    EPOCH_NS,
    HOLE,
    PrivatePlacer,
    has_room,
    is_sealed,
    sealed_mtime,
    write_chunks,
)
from tests.trees import in_order

runs = st.one_of(
    st.builds(
        bytes, st.integers(0, 3) | st.integers(HOLE - 2, HOLE + 2) | st.integers(0, 3 * HOLE)
    ),
    st.binary(min_size=1, max_size=5),
    st.builds(
        lambda byte, count: byte * count,
        st.binary(min_size=1, max_size=1),
        st.integers(HOLE - 2, HOLE + 2),
    ),
)
"""Runs of zeros and other bytes, of about the length of a hole or much shorter."""


def written(path: Path, chunks: list[bytes]) -> bytes:
    with open(path, "wb") as stream:
        assert write_chunks(stream.fileno(), chunks) == sum(map(len, chunks))
    return path.read_bytes()


@settings(max_examples=150)
@given(parts=st.lists(runs, max_size=6), cuts=st.lists(st.integers(0, 6 * HOLE), max_size=3))
@example(parts=[bytes(HOLE)], cuts=[])
@example(parts=[b"x", bytes(2 * HOLE)], cuts=[1])
@example(parts=[b"x", bytes(2 * HOLE - 1)], cuts=[])
@example(parts=[bytes(HOLE), b"x"], cuts=[HOLE])
@example(parts=[bytes(2 * HOLE)], cuts=[HOLE, 2 * HOLE])
def test_chunks_are_written_unchanged(tmp_path: Path, parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts)
    places = [0, *sorted(cuts), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(places)]
    assert written(tmp_path / "f", chunks) == whole


class Chunk(bytes):
    """Return bytes as another type that a store can return."""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, Chunk])
def test_chunks_are_of_any_kind(tmp_path: Path, kind: Callable[[bytes], bytes]) -> None:
    assert written(tmp_path / "f", [kind(bytes(HOLE)), kind(b"x"), kind(b"")]) == bytes(HOLE) + b"x"


@pytest.mark.parametrize("end", [b"", b"the end"], ids=["a hole", "text"])
@pytest.mark.parametrize("start", [b"", b"start".ljust(HOLE, b"-")], ids=["a hole", "text"])
def test_long_runs_of_zeros_become_holes(tmp_path: Path, start: bytes, end: bytes) -> None:
    size = 64 << 20
    with open(tmp_path / "holes", "wb") as stream:
        stream.truncate(size)
    if (tmp_path / "holes").stat().st_blocks * 512 >= size:
        pytest.skip(f"the file system of {tmp_path} makes no holes")
    with open(tmp_path / "f", "wb") as stream:
        write_chunks(stream.fileno(), [start, *[bytes(1 << 20)] * (size >> 20), end])
    state = (tmp_path / "f").stat()
    assert state.st_size == len(start) + size + len(end)
    assert state.st_blocks * 512 <= 4 * HOLE


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: max(1, len(data) // 2)]))
    data = os.urandom(3 * HOLE) + bytes(HOLE) + b"end"
    assert written(tmp_path / "f", [data]) == data


# sealed and unsealed files

CONTENT = b"some content\n"


@pytest.fixture
def node(store: Store) -> FileNode:
    with store.objects.writer() as writer:
        return FileNode(stat.S_IFREG | 0o644, writer.add_blob(CONTENT))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top").mkdir()
    fd = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("mtime", [None, 0, -1, 1_700_000_000_123_456_789])
@pytest.mark.parametrize("mode", [0o644, 0o4755, 0o000, 0o7777])
def test_a_private_file_has_its_own_mode_and_date(
    store: Store, node: FileNode, tmp_path: Path, folder: int, mode: int, mtime: int | None
) -> None:
    wanted = node._replace(mode=stat.S_IFREG | mode, mtime=mtime)
    PrivatePlacer(store.objects).place(wanted, b"d/f", folder)
    state = (tmp_path / "top" / "f").stat()
    assert (state.st_mode, state.st_size) == (wanted.mode, len(CONTENT))
    assert state.st_mtime_ns == (EPOCH_NS if mtime is None else mtime)
    assert is_sealed(state, wanted) == (mtime is not None), "its own date is its seal"


def test_a_sealed_file_is_dated_by_content_and_size(
    store: Store, node: FileNode, tmp_path: Path, folder: int
) -> None:
    PrivatePlacer(store.objects, sealed=True).place(node, b"f", folder)
    state = (tmp_path / "top" / "f").stat()
    assert state.st_mtime_ns == sealed_mtime(node.oid, len(CONTENT))
    assert is_sealed(state, node)


def test_an_existing_file_is_not_overwritten(
    store: Store, node: FileNode, tmp_path: Path, folder: int
) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "top" / "f").symlink_to(tmp_path / "secret")
    with pytest.raises(FileExistsError):
        PrivatePlacer(store.objects).place(node, b"f", folder)
    assert (tmp_path / "secret").read_text() == "secret"


def keeping_the_date(change: Callable[[Path], object]) -> Callable[[Path], object]:
    def changed(path: Path) -> None:
        before = path.stat().st_mtime_ns
        change(path)
        os.utime(path, ns=(before, before))

    return changed


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return in_order(lambda path: path.unlink(), make)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written to": lambda path: path.open("r+b").write(b"S"),
    "rewritten as it was": lambda path: path.write_bytes(CONTENT),
    "longer, date kept": keeping_the_date(lambda path: path.write_bytes(CONTENT + b"x")),
    "shorter, date kept": keeping_the_date(lambda path: os.truncate(path, len(CONTENT) - 1)),
    "empty, date kept": keeping_the_date(lambda path: os.truncate(path, 0)),
    "touched": lambda path: os.utime(path),
    "a nanosecond later": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
    "a second later": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9)),
    "dated as nothing else": lambda path: os.utime(path, ns=(EPOCH_NS, EPOCH_NS)),
    "executable": lambda path: path.chmod(0o755),
    "setuid": lambda path: path.chmod(0o4644),
    "unreadable": lambda path: path.chmod(0),
    "given away": keeping_the_date(lambda path: os.chown(path, 1, -1)),
    "another file": replace_by(lambda path: path.write_bytes(CONTENT)),
    "a link": replace_by(lambda path: path.symlink_to("elsewhere")),
    "a folder": replace_by(lambda path: path.mkdir()),
    "a fifo, date kept": lambda path: keeping_the_date(
        replace_by(lambda path: os.mkfifo(path, 0o644))
    )(path),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_seal_is_broken_by_every_change(
    store: Store, node: FileNode, tmp_path: Path, folder: int, change: str
) -> None:
    if change == "given away" and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    PrivatePlacer(store.objects, sealed=True).place(node, b"f", folder)
    path = tmp_path / "top" / "f"
    assert is_sealed(path.lstat(), node)
    CHANGES[change](path)
    assert not is_sealed(path.lstat(), node)


@given(
    one=st.binary(max_size=9),
    other=st.binary(max_size=9),
    mode=st.sampled_from([0o644, 0o755, 0o4755]),
)
def test_a_seal_is_of_one_content(one: bytes, other: bytes, mode: int) -> None:
    first, second = (
        FileNode(stat.S_IFREG | mode, object_id("blob", data)) for data in (one, other)
    )
    dates = {sealed_mtime(first.oid, len(one)), sealed_mtime(second.oid, len(other))}
    assert len(dates) == (1 if one == other else 2)


# files with tokens

HERE = TokenPaths({b"W": b"/a/folder/to/work/in", b"S": b"/a/folder/of/a/sysroot"})


@pytest.mark.parametrize("start", [b"", b"\x7fELF\0"], ids=["text", "binary"])
def test_a_file_with_tokens_is_written_for_its_place(
    store: Store, tmp_path: Path, folder: int, start: bytes
) -> None:
    there = TokenPaths({b"W": b"/w", b"S": b"/s"})
    stored = tokenise(start + b"/a/folder/to/work/in/f", HERE)
    assert stored is not None
    with store.objects.writer() as writer:
        node = FileNode(stat.S_IFREG | 0o644, writer.add_blob(stored.data), fixme=stored.fixme)
    for name, places in (("here", HERE), ("there", there), ("tokens", None)):
        PrivatePlacer(store.objects, places, sealed=True).place(node, name.encode(), folder)
        assert is_sealed((tmp_path / "top" / name).stat(), node)
    found = [(tmp_path / "top" / name).read_bytes() for name in ("here", "there", "tokens")]
    assert found[0] == start + b"/a/folder/to/work/in/f"
    assert found[1] == start + b"/w/f" + (bytes(18) if start else b"")
    assert found[2] == stored.data


@pytest.mark.parametrize("longer", [0, 1])
def test_a_file_too_small_for_a_path_is_reported(
    store: Store, tmp_path: Path, folder: int, longer: int
) -> None:
    path = HERE.paths[b"W"]
    stored = tokenise(b"\x7fELF\0" + path + b"/f\0", HERE)
    assert stored is not None
    with store.objects.writer() as writer:
        node = FileNode(stat.S_IFREG | 0o755, writer.add_blob(stored.data), fixme=stored.fixme)
    there = b"/" + b"w" * (len(path) - 1 + longer)
    placer = PrivatePlacer(store.objects, TokenPaths({b"W": there}))
    placer.place(node, b"usr/bin/tool", folder)
    expected = there if longer == 0 else NOWHERE
    assert (tmp_path / "top" / "tool").read_bytes().rstrip(b"\0") == b"\x7fELF\0" + expected + b"/f"
    assert [at for at, _ in placer.notes] == ([b"usr/bin/tool"] if longer else [])
    assert has_room(store.objects, node, placer.token_paths or HERE) == (longer == 0)


def test_every_path_fits_into_a_text(store: Store, tmp_path: Path, folder: int) -> None:
    with store.objects.writer() as writer:
        node = FileNode(stat.S_IFREG | 0o644, writer.add_blob(b"@PROV:WORKDIR@"), fixme=b"text:W")
    placer = PrivatePlacer(store.objects, TokenPaths({b"W": b"/" + b"w" * 500}))
    placer.place(node, b"f", folder)
    assert (tmp_path / "top" / "f").stat().st_size == 501
    assert placer.notes == []
