"""Unions with a cached previous merge, unions with winning owners, and edits of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prov.store.objects import Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.sysroot.state import read_merges, write_merges
from prov.worktree.attributes import EMPTY, FileNode, Pair, read_listing, walk
from prov.worktree.merge import Conflict, Merged, MergedFolder, Owned, Union, edit, union
from tests.worktree.test_merge import Spec, as_part, build, show, specs


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    return store.objects.writer()


# Packages that rarely conflict: files and folders have distinct names, and most content is equal.

leaves = st.sampled_from(["x"] * 12 + ["y", ("x", 0o755), ("x", 0o644, "f"), ("x", 0o644, "d/g")])
packages: st.SearchStrategy[Spec] = st.recursive(
    st.dictionaries(st.sampled_from(["f", "g", "h", "i"]), leaves, max_size=3),
    lambda inner: st.builds(
        lambda files, folders, odd: {**files, **folders, **odd},
        st.dictionaries(st.sampled_from(["f", "g", "h", "i"]), leaves, max_size=3),
        st.dictionaries(st.sampled_from(["d", "e"]), inner, max_size=2),
        st.just({}) | st.just({}) | st.just({}) | st.sampled_from([{".": 0o700}, {"d": "x"}]),
    ),
    max_leaves=6,
)
owners = ["a", "b", "c:one", "d", "e:one", "f", "g"]
paths = (
    st.lists(st.sampled_from(["d", "e", "f", "g", "."]), min_size=1, max_size=3)
    .map("/".join)
    .map(str.encode)
)
winners = st.dictionaries(paths, st.sampled_from([*owners, "c", "e", "nobody"]), max_size=2)


def neighbours(count: int) -> st.SearchStrategy[list[list[int]]]:
    """Generate sets of parts that each differ from the previous set in a few parts."""

    def walked(start: set[int], steps: list[tuple[set[int], bool]]) -> list[list[int]]:
        chain, now = [sorted(start)], start
        for change, backwards in steps:
            now = now ^ change
            chain.append(sorted(now, reverse=backwards))
        return chain

    numbers = st.integers(0, count - 1)
    step = st.tuples(st.sets(numbers, min_size=1, max_size=2), st.booleans())
    return st.builds(
        walked, st.sets(numbers, min_size=count // 2), st.lists(step, min_size=1, max_size=5)
    )


def outcome(merged: Merged) -> Pair | set[bytes]:
    """Return the conflicts, or the pair, which is valid only without conflicts."""
    return {conflict.path for conflict in merged.conflicts} or merged.pair


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_a_cached_merge_changes_nothing(writer: ObjectWriter, tmp_path: Path, kept: str) -> None:
    counted = {"merges": 0, "remembered": 0}

    @settings(max_examples=250)
    @given(
        data=st.data(),
        brought=st.lists(packages, min_size=6, max_size=len(owners)),
        wins=st.just({}) | winners,
        always=st.booleans(),
    )
    def check(
        data: st.DataObject, brought: list[Spec], wins: dict[bytes, str], always: bool
    ) -> None:
        parts = [
            as_part(owner, build(writer, spec))
            for owner, spec in zip(owners, brought, strict=False)
        ]
        known: dict[bytes, MergedFolder] = {}
        for chosen in data.draw(neighbours(len(parts))):
            again = Union(writer, wins, dict(known))
            merged = again.merge([parts[number] for number in chosen])
            fresh = Union(writer, wins).merge([parts[number] for number in chosen])
            assert outcome(merged) == outcome(fresh)
            counted["merges"] += 1
            counted["remembered"] += bool(known)
            if always or not merged.conflicts:
                known = again.remembered()
            if kept == "in a file":
                write_merges(tmp_path / "merges", known)
                assert read_merges(tmp_path / "merges") == known
                known = read_merges(tmp_path / "merges")

    check()
    of_few = counted["merges"] < 100
    assert of_few or counted["remembered"] > counted["merges"] // 5


@settings(max_examples=60)
@given(brought=st.lists(packages, min_size=2, max_size=4))
def test_a_cached_merge_is_not_read_again(writer: ObjectWriter, brought: list[Spec]) -> None:
    parts = [
        as_part(owner, build(writer, spec)) for owner, spec in zip(owners, brought, strict=False)
    ]
    first = Union(writer)
    merged = first.merge(parts)
    assume(not merged.conflicts)
    reader = Counting(writer)
    again = Union(reader, merges=first.remembered())
    assert again.merge(parts[::-1]) == merged
    assert reader.read == []
    assert again.remembered() == first.remembered()


class Counting:
    """A store that logs which trees are read."""

    def __init__(self, writer: ObjectWriter) -> None:
        self.writer = writer
        self.read: list[Oid] = []
        self.lost: Oid | None = None
        """A tree that the store no longer has."""
        self.add = writer.add
        self.add_tree = writer.add_tree
        self.blob = writer.blob

    def has(self, oid: Oid) -> bool:
        return oid != self.lost and self.writer.has(oid)

    def tree(self, oid: Oid) -> list[Entry]:
        self.read.append(oid)
        return self.writer.tree(oid)


def test_of_many_parts_only_the_changed_one_is_read(writer: ObjectWriter) -> None:
    """A merge reads the changed part and the parts of shared names, and no others."""

    def package(number: int, text: str = "x") -> Owned:
        spec = {"usr": {"lib": {f"l{number}": text}, f"own{number}": {"f": "x"}}}
        return as_part(f"p{number}", build(writer, spec))

    parts = [package(number) for number in range(50)]
    first = Union(writer)
    first.merge(parts)
    reader = Counting(writer)
    changed = [*parts[:-1], package(49, "changed")]
    merged = Union(reader, merges=first.remembered()).merge(changed)
    assert merged == union(writer, changed)
    assert len(reader.read) < 25


def test_a_lost_result_is_merged_again(writer: ObjectWriter) -> None:
    parts = [as_part(owner, build(writer, {"d": {owner: "x"}})) for owner in "abcdef"]
    first = Union(writer)
    merged = first.merge(parts)
    for gone in (merged.pair.tree, read_listing(writer, merged.pair)[b"d"].pair.tree):
        reader = Counting(writer)
        reader.lost = gone
        assert Union(reader, merges=first.remembered()).merge(parts[1:]) == union(writer, parts[1:])
        assert reader.read != []


GARBAGE = [b"", b"x", b"\xff" * 50, b"cut"]


@pytest.mark.parametrize("damage", GARBAGE)
def test_a_damaged_cache_is_ignored(writer: ObjectWriter, tmp_path: Path, damage: bytes) -> None:
    again = Union(writer)
    again.merge([as_part(owner, build(writer, {owner: "x"})) for owner in "abc"])
    write_merges(tmp_path / "merges", again.remembered())
    assert read_merges(tmp_path / "merges") == again.remembered() != {}
    data = (tmp_path / "merges").read_bytes()
    (tmp_path / "merges").write_bytes(data[: len(data) // 2] if damage == b"cut" else damage)
    assert read_merges(tmp_path / "merges") == {}
    assert read_merges(tmp_path / "none") == {}


# the order of parts


@settings(max_examples=150)
@given(brought=st.lists(packages, min_size=2, max_size=6), data=st.data())
def test_a_union_does_not_depend_on_order(
    writer: ObjectWriter, brought: list[Spec], data: st.DataObject
) -> None:
    parts = [
        as_part(owner, build(writer, spec)) for owner, spec in zip(owners, brought, strict=False)
    ]
    other = data.draw(st.permutations(parts))
    forth, back = union(writer, parts), union(writer, other)
    assert {conflict.path for conflict in forth.conflicts} == {
        conflict.path for conflict in back.conflicts
    }
    if not forth.conflicts:
        assert forth == back


LINKED: list[tuple[str, Spec, Spec, dict[str, bytes]]] = [
    (
        "one has a group",
        {"f": ("x", 0o644, "f"), "g": ("x", 0o644, "f")},
        {"f": "x"},
        {"f": b"", "g": b"f"},
    ),
    (
        "other groups",
        {"f": ("x", 0o644, "f")},
        {"f": ("x", 0o644, "a"), "a": ("x", 0o644, "a")},
        {"f": b"a", "a": b"a"},
    ),
    ("the same group", {"f": ("x", 0o644, "f")}, {"f": ("x", 0o644, "f")}, {"f": b"f"}),
]


@pytest.mark.parametrize(
    ("first", "second", "links"), [row[1:] for row in LINKED], ids=[row[0] for row in LINKED]
)
def test_different_hardlinks_are_not_a_conflict(
    writer: ObjectWriter, first: Spec, second: Spec, links: dict[str, bytes]
) -> None:
    parts = [
        as_part("one", build(writer, {"d": first})),
        as_part("two", build(writer, {"d": second})),
    ]
    for order in (parts, parts[::-1]):
        merged = union(writer, order)
        assert merged.conflicts == ()
        found = {
            path.decode(): node.link for path, node in walk(writer, merged.pair) if path != b"d"
        }
        assert found == {f"d/{name}": link for name, link in links.items()}


# winning owners

F: Spec = {"d": {"f": "x"}}
G: Spec = {"d": {"f": "y"}}
ONE, TWO = {"d/": "755", "d/f": "x 644"}, {"d/": "755", "d/f": "y 644"}
WINS: list[tuple[str, dict[str, str], list[Spec], dict[str, str] | list[str]]] = [
    ("a file", {"d/f": "b"}, [F, G], TWO),
    ("the other file", {"d/f": "a"}, [F, G], ONE),
    ("by the name before a colon", {"d/f": "c"}, [F, F, G], TWO),
    ("by the whole name", {"d/f": "c:one"}, [F, F, G], TWO),
    ("not by a part of it", {"d/f": "c:", "d": "c:on"}, [F, F, G], ["d/f"]),
    ("what is in a folder", {"d": "b"}, [F, G], TWO),
    (
        "what is further down",
        {"d": "b"},
        [{"d": F}, {"d": G}],
        {"d/": "755", "d/d/": "755", "d/d/f": "y 644"},
    ),
    ("the nearest path", {"d": "a", "d/f": "b"}, [F, G], TWO),
    (
        "not by another path",
        {"d/g": "b", "e": "b", "d/": "b", "d/f/g": "b", "": "b"},
        [F, G],
        ["d/f"],
    ),
    ("not an owner without the file", {"d/f": "c:one"}, [F, G, {"d": {"g": "z"}}], ["d/f"]),
    (
        "then the one further up",
        {"d/f": "c", "d": "b"},
        [F, G, {"d": {"g": "z"}}],
        {**TWO, "d/g": "z 644"},
    ),
    (
        "nothing else of theirs",
        {"d/f": "b"},
        [{"d": {"f": "x", "g": "1"}}, {"d": {"f": "y", "g": "2"}}],
        ["d/g"],
    ),
    ("a file against a folder", {"d": "a"}, [{"d": "file"}, F], {"d": "file 644"}),
    ("a folder against a file", {"d": "b"}, [{"d": "file"}, F], ONE),
    ("a mode", {"f": "b"}, [{"f": "x"}, {"f": ("x", 0o4755)}], {"f": "x 4755"}),
    ("a folder's mode", {"d": "a"}, [{"d": {".": 0o700}}, F], {"d/": "700", "d/f": "x 644"}),
    ("a folder's mode alone", {"d/.": "b"}, [{"d": {".": 0o700}}, F], ONE),
    ("where all agree", {"d": "b"}, [F, F], ONE),
    ("what only another has", {"d": "b"}, [{"d": {"g": "z"}}, F], {**ONE, "d/g": "z 644"}),
]


@pytest.mark.parametrize(
    ("wins", "brought", "expected"), [row[1:] for row in WINS], ids=[row[0] for row in WINS]
)
def test_winners(
    writer: ObjectWriter,
    wins: dict[str, str],
    brought: list[Spec],
    expected: dict[str, str] | list[str],
) -> None:
    parts = [
        as_part(owner, build(writer, spec)) for owner, spec in zip(owners, brought, strict=False)
    ]
    for order in (parts, parts[::-1]):
        merged = Union(writer, {path.encode(): owner for path, owner in wins.items()}).merge(order)
        if isinstance(expected, dict):
            assert (show(writer, merged.pair), merged.conflicts) == (expected, ())
        else:
            assert [conflict.path.decode() for conflict in merged.conflicts] == expected


@settings(max_examples=150)
@given(brought=st.lists(specs, min_size=2, max_size=4), wins=winners)
def test_a_winner_changes_only_conflicts(
    writer: ObjectWriter, brought: list[Spec], wins: dict[bytes, str]
) -> None:
    named = dict(zip(["a", "b", "c:one", "d"], brought, strict=False))
    parts = [as_part(owner, build(writer, spec)) for owner, spec in named.items()]
    without, merging = union(writer, parts), Union(writer, wins)
    merged = merging.merge(parts)
    disputed, left = ({conflict.path for conflict in each.conflicts} for each in (without, merged))
    assert left <= disputed
    assert merging.decided == len(disputed) - len(left)
    if not disputed:
        assert merged == without
    for path in disputed - left:
        assert any(wins.get(above) in {*named, "c"} for above in (path, *parents(path)))


def parents(path: bytes) -> list[bytes]:
    """Return the parent folders of a path, nearest first."""
    parts = path.split(b"/")
    return [b"/".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]


def test_the_winner_of_three_is_chosen_for_every_file(writer: ObjectWriter) -> None:
    brought: list[Spec] = [{"d": {"f": text, "g": text}} for text in "xyz"]
    parts = [
        as_part(owner, build(writer, spec)) for owner, spec in zip("abc", brought, strict=True)
    ]
    merging = Union(writer, {b"d/f": "c", b"d": "b"})
    assert show(writer, merging.merge(parts).pair) == {"d/": "755", "d/f": "z 644", "d/g": "y 644"}
    assert merging.decided == 2
    assert Union(writer, {b"d/f": "c"}).merge(parts).conflicts == (Conflict(b"d/g", "a", "b"),)


# edits

edits_of = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join),
    st.sampled_from([None, None, "x", ("z", 0o755), {}, {"a": "new"}, {"b": {"c": "new"}}]),
    max_size=6,
)


def edited(shown: dict[str, str], edits: dict[str, Any]) -> dict[str, str]:
    """Apply the same edits to paths, parents first."""
    shown = dict(shown)
    for path, what in sorted(edits.items(), key=lambda each: each[0].count("/")):
        above = [folder.decode() for folder in parents(path.encode())]
        if what is None and not all(f"{folder}/" in shown for folder in above):
            continue
        if not (isinstance(what, dict) and f"{path}/" in shown):
            for gone in [each for each in shown if each == path or each.startswith(f"{path}/")]:
                del shown[gone]
        if what is not None:
            for folder in above:
                shown.pop(folder, None)
                shown[f"{folder}/"] = "755"
            if f"{path}/" not in shown:
                shown |= {f"{path}{at}": said for at, said in plain(what)}
    return shown


def plain(what: Any) -> list[tuple[str, str]]:
    if isinstance(what, dict):
        below = [
            (f"/{name}{at}", said) for name, inner in what.items() for at, said in plain(inner)
        ]
        return [("/", "755"), *below]
    text, mode = what if isinstance(what, tuple) else (what, 0o644)
    return [("", f"{text} {mode:o}")]


def as_node(writer: ObjectWriter, what: Any) -> FileNode | None:
    if what is None:
        return None
    return read_listing(writer, build(writer, {"it": what}))[b"it"]


@settings(max_examples=300)
@given(spec=specs, edits=edits_of)
def test_edits_are_done_to_paths(writer: ObjectWriter, spec: Spec, edits: dict[str, Any]) -> None:
    pair = build(writer, spec)
    nodes = {path.encode(): as_node(writer, what) for path, what in edits.items()}
    found = edit(writer, pair, nodes)
    assert show(writer, found) == edited(show(writer, pair), edits)
    assert edit(writer, found, nodes) == found
    assert edit(writer, pair, dict(reversed(nodes.items()))) == found
    assert edit(writer, pair, {}) == pair


def test_an_edit_keeps_modes_and_links_beside_it(writer: ObjectWriter) -> None:
    spec: Spec = {"d": {".": 0o2750, "f": ("x", 0o4755, "g"), "g": "old"}, "e": {".": 0o700}}
    found = edit(
        writer,
        build(writer, spec),
        {b"d/g": as_node(writer, "new"), b"d/n/m": as_node(writer, "m")},
    )
    assert show(writer, found) == {
        "d/": "2750",
        "d/f": "x 4755",
        "d/g": "new 644",
        "d/n/": "755",
        "d/n/m": "m 644",
        "e/": "700",
    }
    assert {node.link for path, node in walk(writer, found) if path == b"d/f"} == {b"g"}


def test_removing_all_entries_keeps_the_folder(writer: ObjectWriter) -> None:
    found = edit(
        writer, build(writer, {"d": {"f": "x"}}), {b"d/f": None, b"e/f": None, b"d/g/h": None}
    )
    assert show(writer, found) == {"d/": "755"}
    assert edit(writer, found, {b"d": None}) == EMPTY
