"""Comparison of two tasks' inputs, and their differences as text."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.history.inputs import (
    LONG,
    Change,
    Edge,
    Inputs,
    compare,
    difference_text,
    read_inputs,
    text_difference,
)
from prov.records.ids import TaskHash, Unihash
from prov.records.keys import TaskKey
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from tests.history.recorded import write_files
from tests.records.samples import inputs_of, oid

KEY = TaskKey("app:compile")
ONE, TWO, UNIHASH = "1" * 40, "2" * 40, "3" * 64
Texts = Mapping[str, str]


def inputs(writer: ObjectWriter, files: Texts, edges: Mapping[str, Texts] | None = None) -> Inputs:
    """Return inputs as read from a tree: files such as `variables/CC` or `script`, and edges."""
    plain = {path: text for path, text in files.items() if "/" not in path}
    tree = writer.tree(inputs_of(writer, plain, edges))
    nested = writer.tree(write_files(writer, {p: t for p, t in files.items() if "/" in p}))
    return read_inputs(writer, KEY, TaskHash(writer.add_tree([*tree, *nested])))


def test_edges_are_read_as_ids_of_their_kinds(writer: ObjectWriter) -> None:
    edges = {
        "after": {"unpack": ONE},
        "needs": {"zlib:install": TWO, "mc:x:gcc:do_build": UNIHASH},
    }
    read = inputs(writer, {"script": "make"}, edges)
    assert read.edges == {
        ("after", "app:unpack"): bytes.fromhex(ONE),
        ("needs", "zlib:install"): bytes.fromhex(TWO),
        ("needs", "mc:x:gcc:do_build"): bytes.fromhex(UNIHASH),
    }
    kinds = {edge.key: isinstance(id, Unihash) for edge, id in read.edges.items()}
    assert kinds == {"app:unpack": False, "zlib:install": False, "mc:x:gcc:do_build": True}
    assert list(read.own) == [("script", "")]


@pytest.mark.parametrize(
    ("old", "new", "titles"),
    [
        ({"script": "1"}, {"script": "1"}, []),
        ({"script": "1"}, {"script": "2"}, ["script"]),
        ({}, {"script": "2"}, ["script added"]),
        ({"script": "2"}, {}, ["script removed"]),
        ({"variables/CC": "cc"}, {"variables/CC": "gcc"}, ["variable CC"]),
        (
            {"variables/B": "1", "script": "1"},
            {"variables/B": "2", "variables/A": "1", "script": "2", "sources/x": "1"},
            ["variable A added", "variable B", "source x added", "script"],
        ),
    ],
)
def test_changes_are_in_the_order_of_kinds(
    writer: ObjectWriter, old: Texts, new: Texts, titles: list[str]
) -> None:
    compared = compare(writer, inputs(writer, old), inputs(writer, new))
    assert [change.title for change in compared.own] == titles
    assert compared.edges == ()


@pytest.mark.parametrize(
    ("old", "new", "titles", "moved"),
    [
        ({"needs": {"z:i": ONE}}, {"needs": {"z:i": ONE}}, [], []),
        ({"needs": {"z:i": ONE}}, {"needs": {"z:i": TWO}}, [], ["needs z:i"]),
        ({}, {"needs": {"z:i": TWO}}, ["dependency needs z:i added"], []),
        ({"after": {"x": ONE}}, {}, ["dependency after app:x removed"], []),
        (
            {"after": {"x": ONE}},
            {"from": {"app:x": ONE}},
            ["dependency after app:x removed", "dependency from app:x added"],
            [],
        ),
    ],
)
def test_edges(
    writer: ObjectWriter,
    old: Mapping[str, Texts],
    new: Mapping[str, Texts],
    titles: list[str],
    moved: list[str],
) -> None:
    compared = compare(writer, inputs(writer, {}, old), inputs(writer, {}, new))
    assert [change.title for change in compared.own] == titles
    assert [" ".join(edge) for edge in compared.edges] == moved


def test_an_edge_to_a_task_that_must_run_first_differs(writer: ObjectWriter) -> None:
    edge = Edge("needs", TaskKey("z:i"))
    old = Inputs(KEY, None, {}, {edge: TaskHash(oid("x"))})
    assert compare(writer, old, Inputs(KEY, None, {}, {edge: None})).edges == (edge,)


def test_a_definition_that_changed_only_in_dependencies_is_not_a_change(
    writer: ObjectWriter,
) -> None:
    old = inputs(writer, {"task": "network no\n"})
    needing = {"needs": {"z:i": ONE}}
    new = inputs(writer, {"task": "network no\nneeds z:i\n"}, needing)
    other = inputs(writer, {"task": "network yes\nneeds z:i\n"}, needing)
    assert [change.kind for change in compare(writer, old, new).own] == ["dependency"]
    kinds = [change.kind for change in compare(writer, old, other).own]
    assert kinds == ["definition", "dependency"]


texts = st.dictionaries(
    st.sampled_from(["script", "variables/A", "variables/B", "functions/f"]),
    st.sampled_from(["1", "2"]),
)


@given(texts, texts)
def test_comparing_is_symmetric(
    store_of_properties: Store, old: dict[str, str], new: dict[str, str]
) -> None:
    writer = store_of_properties.objects.writer(memory=True)
    there = compare(writer, inputs(writer, old), inputs(writer, new)).own
    back = compare(writer, inputs(writer, new), inputs(writer, old)).own
    assert [(one.kind, one.name) for one in there] == [(one.kind, one.name) for one in back]
    assert [one.old for one in there] == [one.new for one in back]
    assert bool(there) == (old != new)


# as text


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (b"", b"", []),
        (b"a\n", b"b\n", ["@@ -1 +1 @@", "-a", "+b"]),
        (b"a", b"a\n", ["only the final newline or the mode changed"]),
        (b"\0", b"ab", ["binary, 1 bytes -> 2 bytes"]),
    ],
)
def test_text_difference(old: bytes, new: bytes, lines: list[str]) -> None:
    assert text_difference(old, new) == lines


def entry(writer: ObjectWriter, text: str) -> Entry:
    return Entry(b"x", MODE_FILE, writer.add("blob", text.encode()))


def folder(writer: ObjectWriter, files: Texts) -> Entry:
    return Entry(b"x", MODE_DIRECTORY, write_files(writer, files))


def test_a_long_difference_is_cut(writer: ObjectWriter) -> None:
    long = entry(writer, "".join(f"{number}\n" for number in range(100)))
    lines = difference_text(writer, Change("script", "", None, long))
    assert len(lines) == LONG + 1
    assert lines[-1] == f"… and {101 - LONG} more lines"


def test_folders_and_host_tools_differ_by_file(writer: ObjectWriter) -> None:
    old, new = folder(writer, {"a": "1\n"}), folder(writer, {"a": "2\n", "b": "1"})
    lines = ["M a", "    @@ -1 +1 @@", "    -1", "    +2", "A b"]
    assert difference_text(writer, Change("source", "x", old, new)) == lines
    tools = Change(
        "host tools",
        "",
        entry(writer, f"{old.oid.hex()}\n"),
        entry(writer, f"{new.oid.hex()}\n"),
    )
    assert difference_text(writer, tools) == lines


def test_missing_host_tools_have_no_files(writer: ObjectWriter) -> None:
    change = Change("host tools", "", entry(writer, ONE), entry(writer, EMPTY_TREE.hex()))
    assert difference_text(writer, change) == []


def test_dependencies_have_no_text(writer: ObjectWriter) -> None:
    assert difference_text(writer, Change("dependency", "needs z:i", None, None)) == []


def test_missing_inputs(writer: ObjectWriter) -> None:
    with pytest.raises(StoreError):
        read_inputs(writer, KEY, TaskHash(oid("nothing")))
