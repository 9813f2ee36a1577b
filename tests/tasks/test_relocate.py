"""Tests of replacing paths in outputs by tokens, and tokens by paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.store.objects import MODE_EXECUTABLE, MODE_FILE, Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.relocate import (
    Tokeniser,
    _relative,
    has_marks,
    held_blobs,
    marks,
    relocated,
)
from prov.worktree.attributes import FileNode, Listing, Pair, read_listing, walk, write_listing
from prov.worktree.path_tokens import TokenPaths
from tests.records.samples import pair_of

HERE = TokenPaths(
    {b"W": b"/here/work/zlib", b"S": b"/here/work/zlib/sysroot", b"N": b"/here/native", b"H": b"/t"}
)
THERE = TokenPaths(
    {b"W": b"/another/place", b"S": b"/another/sysroot", b"N": b"/native", b"H": b"/tools"}
)
PYC = b"\xa7\r\r\n\0\0/here/work/zlib/a.py\0"


class MemoryWriter(ObjectWriter):
    """A writer that stores all objects in memory, including file contents."""

    def add_blob(self, data: bytes) -> Oid:
        return self.add("blob", data)


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer whose objects can be read immediately."""
    return MemoryWriter(store.objects, memory=True)


def recorded(writer: ObjectWriter, folder: Path, files: Mapping[str, bytes]) -> Pair:
    """Write files to disk and as a recorded directory."""
    listing: Listing = {}
    for name, data in files.items():
        top = name.rpartition("/")[0]
        (folder / top).mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        if not top:
            listing[name.encode()] = FileNode(MODE_FILE, writer.add("blob", data))
    for top in {name.partition("/")[0] for name in files if "/" in name}:
        inside = {
            name.partition("/")[2]: data
            for name, data in files.items()
            if name.startswith(top + "/")
        }
        listing[top.encode()] = FileNode(0o40755, pair=recorded(writer, folder / top, inside))
    return write_listing(writer, listing, mtimes=False)


def contents(writer: ObjectWriter, pair: Pair) -> dict[str, tuple[bytes, bytes]]:
    """Return the marks and contents of files in a recorded directory, by path."""
    return {
        path.decode(): (node.fixme, writer.blob(node.oid))
        for path, node in walk(writer, pair)
        if not node.is_directory
    }


# tokens


def test_paths_become_tokens(writer: ObjectWriter, tmp_path: Path) -> None:
    files = {
        "zlib.pc": b"prefix=/here/work/zlib/sysroot/usr\n",
        "bin/zlib-config": b"#!/bin/sh\nW=/here/work/zlib; T=/t/sh\n",
        "zlib.h": b"#define ZLIB\n",
    }
    pair = recorded(writer, tmp_path, files)
    tokeniser = Tokeniser(writer, HERE)
    output = tokeniser.output(tmp_path, pair)
    assert contents(writer, output) == {
        "zlib.pc": (b"text:S", b"prefix=@PROV:SYSROOT@/usr\n"),
        "bin/zlib-config": (b"text:HW", b"#!/bin/sh\nW=@PROV:WORKDIR@; T=@PROV:HOSTTOOLS@/sh\n"),
        "zlib.h": (b"", b"#define ZLIB\n"),
    }
    assert tokeniser.held == []


def test_a_directory_without_paths_is_unchanged(writer: ObjectWriter, tmp_path: Path) -> None:
    files = {"a": b"nothing\n", "below/b": b"/here/works\n"}
    pair = recorded(writer, tmp_path, files)
    assert Tokeniser(writer, HERE).output(tmp_path, pair) == pair


def test_a_file_with_an_irreplaceable_path_is_held(writer: ObjectWriter, tmp_path: Path) -> None:
    pair = recorded(writer, tmp_path, {"lib/a.pyc": PYC, "b": b"1"})
    tokeniser = Tokeniser(writer, HERE)
    output = tokeniser.output(tmp_path, pair)
    assert tokeniser.held == [b"lib/a.pyc"]
    assert contents(writer, output)["lib/a.pyc"] == (b"held", PYC)
    assert held_blobs(writer, [output, pair]) == {writer_id(writer, PYC)}
    assert held_blobs(writer, [pair]) == frozenset()


def writer_id(writer: ObjectWriter, data: bytes) -> bytes:
    """Return the id of a blob."""
    return writer.add("blob", data)


def test_held_files_of_inputs_stay_held(writer: ObjectWriter, tmp_path: Path) -> None:
    pair = recorded(writer, tmp_path, {"a.pyc": b"\0of another place\0"})
    taken = frozenset({writer_id(writer, b"\0of another place\0")})
    tokeniser = Tokeniser(writer, HERE, taken)
    output = tokeniser.output(tmp_path, pair)
    assert tokeniser.held == [b"a.pyc"]
    assert contents(writer, output)["a.pyc"][0] == b"held"


def test_a_text_with_tokens_of_its_own_is_held(writer: ObjectWriter, tmp_path: Path) -> None:
    data = b"@PROV:WORKDIR@ and /here/work/zlib\n"
    pair = recorded(writer, tmp_path, {"a": data})
    tokeniser = Tokeniser(writer, HERE)
    assert contents(writer, tokeniser.output(tmp_path, pair))["a"] == (b"held", data)
    assert tokeniser.held == [b"a"]


def test_a_file_missing_on_disk_is_read_from_the_store(
    writer: ObjectWriter, tmp_path: Path
) -> None:
    pair = recorded(writer, tmp_path, {"a": b"/here/native/bin\n"})
    (tmp_path / "a").unlink()
    output = Tokeniser(writer, HERE).output(tmp_path, pair)
    assert contents(writer, output)["a"] == (b"text:N", b"@PROV:NATIVE@/bin\n")


def test_links_are_not_searched(writer: ObjectWriter, tmp_path: Path) -> None:
    blob = writer.add("blob", b"/here/work/zlib")
    pair = write_listing(writer, {b"a": FileNode(0o120777, blob)}, mtimes=False)
    (tmp_path / "a").symlink_to("/here/work/zlib")
    assert Tokeniser(writer, HERE).output(tmp_path, pair) == pair


# replacing tokens


def test_tokens_become_paths_of_a_different_place(writer: ObjectWriter, tmp_path: Path) -> None:
    data = b"W=/here/work/zlib S=/here/work/zlib/sysroot N=/here/native H=/t\n"
    pair = recorded(writer, tmp_path, {"below/a": data, "b": b"1"})
    output = Tokeniser(writer, HERE).output(tmp_path, pair)
    moved = contents(writer, relocated(writer, output, THERE))
    assert moved["below/a"] == (
        b"",
        b"W=/another/place S=/another/sysroot N=/native H=/tools\n",
    )
    assert moved["b"] == (b"", b"1")


words = st.sampled_from([*HERE.paths.values(), b"/usr", b" ", b"\n", b"x", b"=", b"/bin", b"-L"])


@given(st.lists(words, max_size=8).map(b"".join))
def test_a_text_is_restored_exactly(writer: ObjectWriter, tmp_path: Path, data: bytes) -> None:
    pair = recorded(writer, tmp_path, {"a": data})
    output = Tokeniser(writer, HERE).output(tmp_path, pair)
    assert relocated(writer, output, HERE) == pair
    assert has_marks(writer, output) == HERE.find(data)


@given(st.lists(words, max_size=8).map(b"".join))
def test_a_text_does_not_depend_on_where_it_was_made(
    writer: ObjectWriter, tmp_path: Path, data: bytes
) -> None:
    output = Tokeniser(writer, HERE).output(
        tmp_path / "here", recorded(writer, tmp_path / "here", {"a": data})
    )
    moved = contents(writer, relocated(writer, output, THERE))["a"][1]
    there = recorded(writer, tmp_path / "there", {"a": moved})
    assert Tokeniser(writer, THERE).output(tmp_path / "there", there) == output


@pytest.mark.parametrize(
    ("mark", "binaries", "data"),
    [
        (b"binary:W", False, b"\x7fELF@PROV:WORKDIR===@\0end"),
        (b"binary:W", True, b"\x7fELF/another/place\0\0\0\0end"),
        (b"held:W", True, b"\x7fELF@PROV:WORKDIR===@\0end"),
        (b"", True, b"\x7fELF@PROV:WORKDIR===@\0end"),
    ],
)
def test_binaries_keep_their_tokens_by_default(
    writer: ObjectWriter, *, mark: bytes, binaries: bool, data: bytes
) -> None:
    blob = writer.add("blob", b"\x7fELF@PROV:WORKDIR===@\0end")
    pair = write_listing(writer, {b"a": FileNode(MODE_EXECUTABLE, blob, fixme=mark)}, mtimes=False)
    moved = relocated(writer, pair, THERE, binaries=binaries)
    assert contents(writer, moved) == {"a": (b"", data)}


def test_directories_without_marks_are_not_read(writer: ObjectWriter) -> None:
    pair = pair_of(writer, {"a": "@PROV:WORKDIR@"}, {"%attributes": "a\tmode=0600\n"})
    assert not has_marks(writer, pair)
    assert relocated(writer, pair, THERE) is pair
    assert marks(writer, pair) == []


def test_marks_are_found_below(writer: ObjectWriter, tmp_path: Path) -> None:
    pair = recorded(writer, tmp_path, {"usr/lib/a": b"/t\n", "b": b"1"})
    output = Tokeniser(writer, HERE).output(tmp_path, pair)
    ((path, node),) = marks(writer, output)
    assert (path, node.fixme) == (b"usr/lib/a", b"text:H")
    assert read_listing(writer, output)[b"b"].fixme == b""
    assert writer.tree(output.tree)[0].mode == MODE_FILE


# RPATHs


@pytest.mark.parametrize(
    ("entry", "at", "relative"),
    [
        (b"/here/native/usr/lib", b"usr/bin/tool", b"$ORIGIN/../lib"),
        (b"/here/native//////usr/lib", b"usr/bin/tool", b"$ORIGIN/../lib"),
        (b"/here/work/zlib/sysroot/usr/lib", b"usr/lib/a/b.so", b"$ORIGIN/.."),
        (b"/here/work/zlib/sysroot", b"tool", b"$ORIGIN/."),
        (b"/here/work/zlib/.libs", b"usr/bin/tool", b""),
        (b"/here/work/zlib", b"usr/bin/tool", b""),
        (b"/t", b"usr/bin/tool", b""),
        (b"/usr/lib", b"usr/bin/tool", b"/usr/lib"),
        (b"/here/native-other/lib", b"usr/bin/tool", b"/here/native-other/lib"),
        (b"$ORIGIN/../lib", b"usr/bin/tool", b"$ORIGIN/../lib"),
    ],
)
def test_rpaths_become_relative(entry: bytes, at: bytes, relative: bytes) -> None:
    assert _relative(entry, at, HERE) == relative
