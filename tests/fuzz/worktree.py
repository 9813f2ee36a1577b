"""Parsers of prov/worktree: attributes, path tokens, patterns."""

from __future__ import annotations

import stat

from hypothesis import strategies as st

from prov.errors import CaptureError, StoreError
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, MODE_SYMLINK, Entry
from prov.worktree.attributes import (
    BLOB_NAME,
    EMPTY,
    FileNode,
    Listing,
    Pair,
    attribute_line,
    read_listing,
)
from prov.worktree.exclude import Exclude
from prov.worktree.path_tokens import HELD, TokenPaths, fits, relocate, token_letters, tokenise
from tests.fuzz.common import Memory, text, words
from tests.fuzz.parser import Parser

FILE, LINK = b"\x11" * 20, b"\x22" * 20
_memory = Memory()
_BELOW = _memory.put_tree([Entry(b"in", MODE_FILE, FILE)])
TREE = _memory.put_tree(
    [
        Entry(b"f", MODE_FILE, FILE),
        Entry(b"g", MODE_FILE, FILE),
        Entry(b"l", MODE_SYMLINK, LINK),
        Entry(b"d", MODE_DIRECTORY, _BELOW),
    ]
)
numbers = st.integers(0, (1 << 31) - 1)
mtimes = st.none() | st.integers(0, 1 << 62)
xattrs = st.dictionaries(
    words.map(lambda word: b"user." + word.encode()), st.binary(max_size=9), max_size=2
).map(lambda table: tuple(table.items()))
marks = st.sampled_from([b"", b"text:W", b"binary:NS", b"held"])
owners = st.tuples(numbers, numbers)
permissions = st.integers(0, 0o7777)


def _nodes(kind: int, oid: bytes) -> st.SearchStrategy[FileNode]:
    modes = permissions.map(lambda mode: kind | mode)
    return st.builds(
        FileNode,
        modes,
        st.just(oid),
        st.just(EMPTY),
        mtime=mtimes,
        rdev=st.none(),
        link=st.sampled_from([b"", b"a b/\tc"]),
        xattrs=xattrs,
        fixme=marks,
        owner=owners,
    )


_devices = st.builds(
    FileNode,
    permissions.map(lambda mode: stat.S_IFCHR | mode),
    oid=st.just(b""),
    pair=st.just(EMPTY),
    link=st.just(b""),
    xattrs=st.just(()),
    fixme=st.just(b""),
    owner=owners,
    mtime=mtimes,
    rdev=st.tuples(numbers, numbers),
)
listings = st.fixed_dictionaries(
    {b"f": _nodes(stat.S_IFREG, FILE)},
    optional={
        b"g": _nodes(stat.S_IFREG, FILE),
        b"dev\\ x": _devices,
        b"p\n": _nodes(stat.S_IFIFO, b""),
    },
)


def attribute_lines(listing: Listing) -> bytes:
    return b"".join(
        attribute_line(name, node, mtimes=True) for name, node in sorted(listing.items())
    )


def read_attributes(data: bytes) -> tuple[Listing, Pair]:
    """Return the listing of a folder with constant content and these bytes as its attributes."""
    _memory.held = {
        oid: held
        for oid, held in _memory.held.items()
        if held[0] == "tree" and oid in (TREE, _BELOW)
    }
    attributes = _memory.put_tree([Entry(BLOB_NAME, MODE_FILE, _memory.put("blob", data))])
    pair = Pair(TREE, attributes)
    return read_listing(_memory, pair), pair


def read_back(data: bytes) -> Listing:
    listing, _ = read_attributes(data)
    return {
        name: node
        for name, node in listing.items()
        if name not in (b".", b"d", b"l", b"g") or node.mtime
    }


def read_folder(data: bytes) -> Listing:
    """Return a folder with these bytes as its two trees."""
    tree = _memory.put("tree", data)
    try:
        return read_listing(_memory, Pair(tree, tree))
    finally:
        del _memory.held[tree]


PLACES = TokenPaths(
    {
        b"W": b"/build/work/x",
        b"S": b"/build/work/x/recipe-sysroot",
        b"N": b"/build/work/x/native",
        b"H": b"/build/hosttools/1",
    },
    ((b"/alias/work", b"W"),),
)
ELSEWHERE = TokenPaths({letter: b"/other" + path * 2 for letter, path in PLACES.paths.items()})
pieces = st.sampled_from(
    [
        *PLACES.paths.values(),
        b"/alias/work",
        b"@PROV:WORKDIR@",
        b"@PROV:NATIVE===@",
        b"\0",
        b"-I",
        b" ",
        b"\n",
        b"a",
    ]
)
files = st.lists(pieces | st.binary(max_size=4), max_size=9).map(b"".join)
file_contents = st.builds(
    bytes.__add__, st.sampled_from([b"", b"\x7fELF\0", b"!<arch>\n", b"#!"]), files
)


def replace_paths(data: bytes) -> object:
    """Replace paths with tokens and back: texts, and the lengths of files, must not change."""
    stored = tokenise(data, PLACES)
    for mark in (b"text:HNSW", b"binary:HNSW", b"held", b"binary:", b""):
        fits(data, mark, ELSEWHERE)
        moved = relocate(data, mark, ELSEWHERE)
        assert len(moved) == len(data) or mark.startswith(b"text"), mark
    token_letters(data)
    if stored is not None and stored.fixme.startswith(b"text") and b"/alias/" not in data:
        assert relocate(stored.data, stored.fixme, PLACES) == data
    if stored is not None and stored.fixme == HELD:
        assert stored.data == data
    return stored


def exclude(data: bytes) -> object:
    excluded = Exclude(text(data).split("\n"))
    paths = (b"a", b"usr/lib/a.o", b"temp", b"\xff", b"a" * 40 + b"!")
    return [excluded(path, directory=directory) for path in paths for directory in (False, True)]


patterns = st.lists(
    st.sampled_from(
        ["/temp/", "*.o", "!keep.o", "a/**", "**/b", "[a-z]*", "\\#x", "# comment", " x ", "/"]
    ),
    max_size=4,
).map(lambda rows: "\n".join(rows).encode())


PARSERS = [
    Parser(
        "attributes.read_listing (lines)",
        lambda data: read_attributes(data)[0],
        StoreError,
        listings,
        attribute_lines,
    ),
    Parser(
        "attributes.read_listing (trees)", read_folder, StoreError, st.just(_memory.held[TREE][1])
    ),
    Parser("places.tokenise, relocate, fits", replace_paths, None, file_contents),
    Parser("exclude.Exclude", exclude, CaptureError, patterns),
]
