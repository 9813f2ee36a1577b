from __future__ import annotations

import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.store.objects import EMPTY_TREE, MODE_FILE
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import (
    EMPTY,
    ROOT,
    FileNode,
    Listing,
    Pair,
    at_path,
    attribute_line,
    map_directories,
    nest,
    read_listing,
    walk,
    write_listing,
)
from prov.worktree.path_tokens import BINARY, HELD, NAMES, TEXT
from tests import trees


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    return store.objects.writer()


marks = st.one_of(
    st.just(b""),
    st.just(HELD),
    st.builds(
        lambda kind, letters: kind + b":" + b"".join(sorted(letters)),
        st.sampled_from([TEXT, BINARY]),
        st.sets(st.sampled_from(sorted(NAMES)), min_size=1),
    ),
)
links = st.just(b"") | st.lists(trees.names, min_size=1, max_size=3).map(b"/".join)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1, max_size=5)
xattrs = st.dictionaries(
    keys.map(lambda key: f"user.{key}".encode()), st.binary(max_size=9), max_size=2
)


@st.composite
def files(draw: st.DrawFn, writer: ObjectWriter, *, mtimes: bool) -> FileNode:
    kind = draw(
        st.sampled_from(
            [stat.S_IFREG] * 4 + [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR]
        )
    )
    mode = kind | (
        0o777 if kind == stat.S_IFLNK else draw(st.sampled_from([0o644, 0o755, *trees.MODES]))
    )
    has_content = kind in (stat.S_IFREG, stat.S_IFLNK)
    return FileNode(
        mode,
        writer.add("blob", draw(st.binary(max_size=3))) if has_content else b"",
        mtime=draw(trees.mtimes) if mtimes else None,
        link=draw(links),
        xattrs=tuple(sorted(draw(xattrs).items())),
        rdev=(draw(st.integers(0, 300)), draw(st.integers(0, 1 << 19)))
        if kind == stat.S_IFCHR
        else None,
        fixme=draw(marks) if kind == stat.S_IFREG else b"",
        owner=draw(st.sampled_from([ROOT, (1234, 5678), (0, (1 << 32) - 2)])),
    )


def inside(pair: Pair) -> Pair:
    """Return a pair as its parent's listing has it: an empty directory has attributes."""
    return Pair(EMPTY_TREE, EMPTY_TREE) if pair == EMPTY else pair


@st.composite
def listings(draw: st.DrawFn, writer: ObjectWriter, *, mtimes: bool, depth: int = 2) -> Pair:
    """Generate listings, write them from the leaves up, and check that each is read back."""
    listing: Listing = {}
    for name in draw(st.lists(trees.names, max_size=4, unique=True)):
        if depth and draw(st.booleans()):
            pair = draw(listings(writer, mtimes=mtimes, depth=depth - 1))
            listing[name] = FileNode(stat.S_IFDIR | 0o755, pair=inside(pair))
        else:
            listing[name] = draw(files(writer, mtimes=mtimes))
    own = stat.S_IFDIR | draw(st.sampled_from([0o755, 0o700, 0o2775, 0o000]))
    listing[b"."] = FileNode(
        own, mtime=draw(trees.mtimes) if mtimes else None, xattrs=tuple(draw(xattrs).items())[:1]
    )
    pair = write_listing(writer, listing, mtimes=mtimes)
    assert read_listing(writer, pair) == listing
    return pair


@settings(max_examples=150)
@given(data=st.data(), mtimes=st.booleans())
def test_a_directory_is_read_back(writer: ObjectWriter, data: st.DataObject, mtimes: bool) -> None:
    data.draw(listings(writer, mtimes=mtimes))


@settings(max_examples=40)
@given(data=st.data())
def test_written_again_it_is_the_same(writer: ObjectWriter, data: st.DataObject) -> None:
    pair = data.draw(listings(writer, mtimes=False))
    assert map_directories(writer, pair, lambda listing: listing, writer) == pair
    assert nest(writer, {b"a/b": pair, b"a/c": EMPTY}) == nest(
        writer, {b"a/c": EMPTY, b"a/b": pair}
    )
    found = at_path(writer, nest(writer, {b"a/b": pair}), b"a/b")
    assert found is not None
    assert found.pair == inside(pair)
    for path, node in walk(writer, pair):
        assert at_path(writer, pair, path) == node


ORDINARY = FileNode(MODE_FILE, b"x" * 20)
DIFFERENT: dict[str, FileNode] = {
    "a mark": ORDINARY._replace(fixme=b"text:W"),
    "another mark": ORDINARY._replace(fixme=b"binary:NW"),
    "one that is held": ORDINARY._replace(fixme=HELD),
    "a mode": ORDINARY._replace(mode=0o100600),
    "a link": ORDINARY._replace(link=b"a b"),
    "an xattr": ORDINARY._replace(xattrs=((b"user.a", b"fixme=text:S"),)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_different_attributes_make_a_different_directory(writer: ObjectWriter, what: str) -> None:
    """The output ids differ, so that a file with tokens is never used as one without."""
    plain, other = (
        write_listing(writer, {b"f": node}, mtimes=False) for node in (ORDINARY, DIFFERENT[what])
    )
    assert plain.attributes is None
    assert (plain.tree, plain != other) == (other.tree, True)
    assert read_listing(writer, other)[b"f"] == DIFFERENT[what]
    assert plain.tree != EMPTY_TREE


def test_a_mark_is_part_of_a_files_identity() -> None:
    for node in DIFFERENT.values():
        assert node.same_content != ORDINARY.same_content
    same = {what for what, node in DIFFERENT.items() if node.same_file == ORDINARY.same_file}
    assert same == {"a link"}
    assert ORDINARY._replace(mtime=7).same_content == ORDINARY.same_content


def test_a_mark_is_in_the_attribute_line() -> None:
    assert attribute_line(b"a b", DIFFERENT["a mark"], mtimes=False) == b"a\\sb\tfixme=text:W\n"
    assert attribute_line(b"f", ORDINARY, mtimes=True) == b""
