"""Own inputs are read from an inputs tree, and written back unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.own_entries import flatten, unflatten
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from tests.records.samples import oid, tree_of


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer that stores objects in memory."""
    return store.objects.writer(memory=True)


texts = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from("xyz"), min_size=1, max_size=4)


@given(
    st.dictionaries(
        st.sampled_from(["variables", "functions", "sources", "patches"]), texts, max_size=4
    ),
    st.sets(st.sampled_from(["task", "script", "environment", "capture", "unknown"])),
)
def test_inputs_are_combined_again(
    writer: ObjectWriter, folders: dict[str, dict[str, str]], alone: set[str]
) -> None:
    entries = [
        Entry(name.encode(), MODE_DIRECTORY, tree_of(writer, files))
        for name, files in folders.items()
    ]
    entries += [Entry(name.encode(), MODE_FILE, writer.add("blob", b"x")) for name in alone]
    own = flatten(writer, entries)
    assert len(own) == len(alone) + sum(map(len, folders.values()))
    assert writer.add_tree(list(unflatten(writer, own))) == writer.add_tree(entries)


def test_edges_are_not_own_inputs(writer: ObjectWriter) -> None:
    below = tree_of(writer, {"configure": "x"})
    entries = [Entry(name, MODE_DIRECTORY, below) for name in (b"after", b"from", b"needs")]
    assert flatten(writer, entries) == {}


def test_names_of_own_inputs(writer: ObjectWriter) -> None:
    entries = [
        Entry(b"host-toolchain", MODE_FILE, oid("t")),
        Entry(b"variables", MODE_DIRECTORY, tree_of(writer, {"CC": "gcc"})),
        Entry(b"incremental", MODE_FILE, oid("i")),
    ]
    assert set(flatten(writer, entries)) == {
        ("host tools", ""),
        ("variable", "CC"),
        ("leftovers", ""),
    }
