"""A table is extended by each commit of the index, and read as it was written."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prov.remote.index_branch import PublishedId
from prov.remote.lookup.branch import LOOKUP, LookupWriter, last_table, read_lookup, segment_entries
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Oid,
)
from prov.store.repository import Store
from tests.records.samples import oid

LIMIT = 1 << 20


def commit_of(store: Store, entries: Sequence[Entry]) -> Oid:
    with store.objects.writer() as writer:
        tree = writer.add_tree(list(entries))
        return writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, "index\n"))


def extended(store: Store, before: Oid | None, *numbers: int) -> Oid:
    """Return a commit with the table of an earlier one and some more publications."""
    entries = segment_entries(store.objects, before) if before else []
    with store.objects.writer() as writer:
        table = LookupWriter(store.objects, writer, entries)
        for number in numbers:
            table.add(number, PublishedId(oid(f"text{number}"), None), [oid(f"id{number}")])
        folder = table.finish()
    return commit_of(store, [Entry(LOOKUP.encode(), MODE_DIRECTORY, folder)])


def test_each_commit_finds_what_earlier_ones_published(store: Store) -> None:
    commit = None
    for number in range(1, 40):
        commit = extended(store, commit, number)
        lookup = read_lookup(store.objects, commit, LIMIT)
        assert lookup is not None
        for published in (1, number):
            [row] = lookup.find(oid(f"id{published}"))
            assert (row.number, row.text) == (published, oid(f"text{published}"))
        assert not lookup.find(oid("another"))
        assert last_table(store.objects, [commit])[1] == number
        assert len(segment_entries(store.objects, commit)) < 20


def test_the_last_commit_with_a_table_counts(store: Store) -> None:
    plain = commit_of(store, [])
    table = extended(store, None, 1, 2)
    assert last_table(store.objects, [plain, table]) == (segment_entries(store.objects, table), 2)
    assert last_table(store.objects, [plain]) == ([], 0)


def test_a_table_over_the_limit_is_not_read(store: Store) -> None:
    commit = extended(store, None, 1)
    assert read_lookup(store.objects, commit, 10) is None


@pytest.mark.parametrize("kind", ["none", "a file", "empty", "nonsense", "a folder as a segment"])
def test_an_invalid_table_is_not_used(store: Store, kind: str) -> None:
    with store.objects.writer() as writer:
        blob = writer.add("blob", b"nonsense")
        folder = writer.add_tree([Entry(b"00000001", MODE_FILE, blob)])
        nested = writer.add_tree([Entry(b"00000001", MODE_DIRECTORY, folder)])
    name = LOOKUP.encode()
    entries = {
        "none": [],
        "a file": [Entry(name, MODE_FILE, blob)],
        "empty": [Entry(name, MODE_DIRECTORY, EMPTY_TREE)],
        "nonsense": [Entry(name, MODE_DIRECTORY, folder)],
        "a folder as a segment": [Entry(name, MODE_DIRECTORY, nested)],
    }
    assert read_lookup(store.objects, commit_of(store, entries[kind]), LIMIT) is None
