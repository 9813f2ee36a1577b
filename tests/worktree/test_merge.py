from __future__ import annotations

import stat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import (
    EMPTY,
    FileNode,
    Listing,
    Pair,
    read_listing,
    walk,
    write_listing,
)
from prov.worktree.merge import Conflict, Owned, Resolution, resolution, three_way, union

Spec = dict[str, Any]
"""Entries by name: a file as text, (text, mode) or (text, mode, link), or a directory.

The name `.` has a directory's own mode.
"""


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    return store.objects.writer()


def build(
    writer: ObjectWriter, spec: Spec, *, mtimes: dict[str, int] | None = None, path: str = ""
) -> Pair:
    listing: Listing = {b".": FileNode(stat.S_IFDIR | spec.get(".", 0o755))}
    for name, what in spec.items():
        if name == ".":
            continue
        at = path + name
        if isinstance(what, dict):
            listing[name.encode()] = FileNode(
                0o40755, pair=build(writer, what, mtimes=mtimes, path=at + "/")
            )
        else:
            text, mode, *link = what if isinstance(what, tuple) else (what, 0o644)
            mtime = (mtimes or {}).get(at)
            node = FileNode(stat.S_IFREG | mode, writer.add("blob", text.encode()), mtime=mtime)
            listing[name.encode()] = node._replace(link=link[0].encode() if link else b"")
    return write_listing(writer, listing, mtimes=mtimes is not None)


def show(writer: ObjectWriter, pair: Pair) -> dict[str, str]:
    """Return the content and mode of each path; a directory's path ends in `/`."""
    shown = {}
    for path, node in walk(writer, pair):
        if node.is_directory:
            own = read_listing(writer, node.pair)[b"."]
            shown[path.decode() + "/"] = f"{stat.S_IMODE(own.mode):o}"
        else:
            shown[path.decode()] = f"{writer.blob(node.oid).decode()} {stat.S_IMODE(node.mode):o}"
    return shown


leaves = st.sampled_from(["x", "y", ("x", 0o755), ("x", 0o4711)])
names = st.sampled_from(["a", "b", "c"])
specs: st.SearchStrategy[Spec] = st.recursive(
    st.dictionaries(names, leaves, max_size=3),
    lambda inner: st.dictionaries(names, leaves | inner, max_size=3),
    max_leaves=8,
)


def as_part(owner: str, pair: Pair) -> Owned:
    return Owned(owner, pair)


@settings(max_examples=60)
@given(first=specs, second=specs, third=specs)
def test_a_union_does_not_depend_on_order(
    writer: ObjectWriter, first: Spec, second: Spec, third: Spec
) -> None:
    parts = [
        as_part(str(number), build(writer, spec))
        for number, spec in enumerate((first, second, third))
    ]
    whole = union(writer, parts)
    backwards = union(writer, parts[::-1])
    assert bool(whole.conflicts) == bool(backwards.conflicts)
    if not whole.conflicts:
        assert whole.pair == backwards.pair
        left = union(writer, parts[:2]).pair
        assert union(writer, [as_part("left", left), parts[2]]).pair == whole.pair
        assert union(writer, [as_part("all", whole.pair), *parts]).pair == whole.pair


@settings(max_examples=60)
@given(first=specs, second=specs)
def test_a_union_has_exactly_the_entries_of_both(
    writer: ObjectWriter, first: Spec, second: Spec
) -> None:
    parts = [as_part("one", build(writer, first)), as_part("two", build(writer, second))]
    merged = union(writer, parts)
    one, two = (show(writer, part.pair) for part in parts)
    differing = {path for path in one.keys() & two.keys() if one[path] != two[path]}
    clashing = {path for path in one if path + "/" in two} | {
        path for path in two if path + "/" in one
    }
    assert {conflict.path.decode() for conflict in merged.conflicts} == differing | clashing
    assert all((conflict.first, conflict.second) == ("one", "two") for conflict in merged.conflicts)
    if not merged.conflicts:
        assert show(writer, merged.pair) == one | two


@given(spec=specs)
def test_a_union_with_nothing_or_itself_is_itself(writer: ObjectWriter, spec: Spec) -> None:
    pair = build(writer, spec)
    assert union(writer, []).pair == EMPTY
    assert union(writer, [as_part("one", pair)]).pair == pair
    assert union(writer, [as_part("one", pair), as_part("two", pair)]).pair == pair
    assert union(writer, [as_part("one", pair), as_part("none", EMPTY)]).pair == pair


UNIONS: list[tuple[str, Spec, Spec, dict[str, str] | list[str]]] = [
    ("side by side", {"a": "x"}, {"b": "y"}, {"a": "x 644", "b": "y 644"}),
    (
        "below one folder",
        {"d": {"a": "x"}},
        {"d": {"b": "y"}},
        {"d/": "755", "d/a": "x 644", "d/b": "y 644"},
    ),
    ("the same file", {"a": "x"}, {"a": "x"}, {"a": "x 644"}),
    ("empty folders", {"d": {}}, {"e": {}}, {"d/": "755", "e/": "755"}),
    ("an empty folder and a full one", {"d": {}}, {"d": {"a": "x"}}, {"d/": "755", "d/a": "x 644"}),
    ("other content", {"d": {"a": "x"}}, {"d": {"a": "y"}}, ["d/a"]),
    ("another mode", {"a": "x"}, {"a": ("x", 0o755)}, ["a"]),
    ("another mode that git has not", {"a": "x"}, {"a": ("x", 0o600)}, ["a"]),
    ("a file and a folder", {"a": "x"}, {"a": {"b": "y"}}, ["a"]),
    ("several", {"a": "x", "b": "x", "c": "x"}, {"a": "y", "b": "y", "c": "x"}, ["a", "b"]),
    ("folders of other modes", {"d": {".": 0o700, "a": "x"}}, {"d": {"b": "x"}}, ["d/."]),
]


@pytest.mark.parametrize(
    ("first", "second", "expected"), [row[1:] for row in UNIONS], ids=[row[0] for row in UNIONS]
)
def test_unions(
    writer: ObjectWriter, first: Spec, second: Spec, expected: dict[str, str] | list[str]
) -> None:
    merged = union(
        writer, [as_part("zlib", build(writer, first)), as_part("bzip2", build(writer, second))]
    )
    if isinstance(expected, dict):
        assert (show(writer, merged.pair), merged.conflicts) == (expected, ())
    else:
        assert merged.conflicts == tuple(
            Conflict(path.encode(), "zlib", "bzip2") for path in expected
        )


def test_the_two_conflicting_owners_of_three_are_named(writer: ObjectWriter) -> None:
    parts = [
        as_part(owner, build(writer, {"f": text}))
        for owner, text in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    assert [conflict[1:] for conflict in union(writer, parts).conflicts] in (
        [("a", "c")],
        [("b", "c")],
    )


@settings(max_examples=80)
@given(base=specs, ours=specs)
def test_a_change_of_one_side_is_merged(writer: ObjectWriter, base: Spec, ours: Spec) -> None:
    start, mine = build(writer, base, mtimes={}), build(writer, ours, mtimes={})
    for left, right in ((mine, start), (start, mine), (mine, mine)):
        merged = three_way(writer, start, as_part("ours", left), as_part("theirs", right))
        assert merged == (mine, ())


@settings(max_examples=80)
@given(base=specs, ours=specs, theirs=specs)
def test_both_sides_are_alike_to_a_merge(
    writer: ObjectWriter, base: Spec, ours: Spec, theirs: Spec
) -> None:
    start, mine, other = (build(writer, spec, mtimes={}) for spec in (base, ours, theirs))
    forth = three_way(writer, start, as_part("ours", mine), as_part("theirs", other))
    back = three_way(writer, start, as_part("theirs", other), as_part("ours", mine))
    assert {conflict.path for conflict in forth.conflicts} == {
        conflict.path for conflict in back.conflicts
    }
    if not forth.conflicts:
        assert forth.pair == back.pair


@settings(max_examples=60)
@given(base=specs, ours=specs, theirs=specs)
def test_changes_in_different_folders_never_conflict(
    writer: ObjectWriter, base: Spec, ours: Spec, theirs: Spec
) -> None:
    start = build(writer, {"left": base, "right": base}, mtimes={})
    mine = build(writer, {"left": ours, "right": base}, mtimes={})
    other = build(writer, {"left": base, "right": theirs}, mtimes={})
    merged = three_way(writer, start, as_part("ours", mine), as_part("theirs", other))
    assert merged == (build(writer, {"left": ours, "right": theirs}, mtimes={}), ())


THREE: list[tuple[str, Spec, Spec, Spec, dict[str, str] | list[str]]] = [
    ("both add", {}, {"a": "x"}, {"b": "y"}, {"a": "x 644", "b": "y 644"}),
    ("both add the same", {}, {"a": "x"}, {"a": "x"}, {"a": "x 644"}),
    ("both add to one name", {}, {"a": "x"}, {"a": "y"}, ["a"]),
    (
        "one removes",
        {"a": "x", "b": "y"},
        {"b": "y"},
        {"a": "x", "b": "y", "c": "z"},
        {"b": "y 644", "c": "z 644"},
    ),
    (
        "both remove",
        {"a": "x", "b": "y"},
        {"b": "y"},
        {"b": "y", "c": "z"},
        {"b": "y 644", "c": "z 644"},
    ),
    ("one removes, one changes", {"a": "x"}, {}, {"a": "y"}, ["a"]),
    ("one changes, one changes the mode", {"a": "x"}, {"a": "y"}, {"a": ("x", 0o755)}, ["a"]),
    (
        "a folder goes, another is filled",
        {"d": {"a": "x"}},
        {},
        {"d": {"a": "x"}, "e": {"b": "y"}},
        {"e/": "755", "e/b": "y 644"},
    ),
    ("a deleted folder that is filled", {"d": {"a": "x"}}, {}, {"d": {"a": "x", "b": "y"}}, ["d"]),
    (
        "a file becomes a folder, unseen by the other",
        {"a": "x"},
        {"a": {"b": "y"}},
        {"a": "x", "c": "z"},
        {"a/": "755", "a/b": "y 644", "c": "z 644"},
    ),
    ("a file becomes a folder and changes", {"a": "x"}, {"a": {"b": "y"}}, {"a": "z"}, ["a"]),
    (
        "both make a folder of a file",
        {"a": "x"},
        {"a": {"b": "1"}},
        {"a": {"c": "2"}},
        {"a/": "755", "a/b": "1 644", "a/c": "2 644"},
    ),
]


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [row[1:] for row in THREE],
    ids=[row[0] for row in THREE],
)
def test_three_way(
    writer: ObjectWriter, base: Spec, ours: Spec, theirs: Spec, expected: dict[str, str] | list[str]
) -> None:
    start, mine, other = (build(writer, spec, mtimes={}) for spec in (base, ours, theirs))
    merged = three_way(writer, start, as_part("ours", mine), as_part("theirs", other))
    if isinstance(expected, dict):
        assert (show(writer, merged.pair), merged.conflicts) == (expected, ())
    else:
        assert merged.conflicts == tuple(
            Conflict(path.encode(), "ours", "theirs") for path in expected
        )


def test_equal_files_get_the_later_mtime(writer: ObjectWriter) -> None:
    start = build(writer, {"f": "x"}, mtimes={"f": 1})
    mine = build(writer, {"f": "y"}, mtimes={"f": 2})
    other = build(writer, {"f": "y"}, mtimes={"f": 3})
    for ours, theirs in ((mine, other), (other, mine)):
        merged = three_way(writer, start, as_part("ours", ours), as_part("theirs", theirs))
        assert merged == (other, ())


A, B = FileNode(0o100644, b"a" * 20, mtime=1), FileNode(0o100644, b"b" * 20, mtime=1)
LATER_A = A._replace(mtime=2)
# base, ours, theirs, expected resolution
RESOLUTIONS = [
    (A, A, A, Resolution.THEIRS),
    (A, A, B, Resolution.THEIRS),
    (A, A, None, Resolution.THEIRS),
    (A, B, A, Resolution.OURS),
    (A, None, A, Resolution.OURS),
    (A, B, B, Resolution.OURS),
    (None, A, None, Resolution.OURS),
    (None, None, A, Resolution.THEIRS),
    (None, A, LATER_A, Resolution.LATER),
    (B, A, LATER_A, Resolution.LATER),
    (None, A, B, Resolution.CONFLICT),
    (A, None, B, Resolution.CONFLICT),
    (A, B, LATER_A, Resolution.CONFLICT),
]


@pytest.mark.parametrize(("base", "ours", "theirs", "taken"), RESOLUTIONS)
def test_three_way_resolution(
    base: FileNode | None, ours: FileNode | None, theirs: FileNode | None, taken: Resolution
) -> None:
    assert resolution(base, ours, theirs) is taken
