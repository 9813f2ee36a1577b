"""Add a publication to the lookup table of a git remote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from prov.remote.git_remote import SMALL, GitRemote
from prov.remote.index_branch import PublishedId
from prov.remote.lookup.branch import LookupWriter, last_table
from prov.remote.lookup.table import ids_of, named_ids
from prov.remote.publication import Published
from prov.store.objects import Entry, Oid
from prov.store.odb import ObjectWriter


class Added(NamedTuple):
    """A new publication."""

    published: PublishedId
    tasks: Sequence[Published]


def add_to_table(
    remote: GitRemote, writer: ObjectWriter, tip: Oid | None, number: int, added: Added
) -> Oid | None:
    """Write the table of a new publication and all earlier ones; return its folder.

    Returns None for a small index. The index of the remote is whole and includes the commit `tip`.
    """
    entries, last = _earlier(remote, tip)
    if last >= number:  # an invalid table: begin a new one
        entries, last = [], 0
    if not entries and remote.index.count() < SMALL:
        return None
    table = LookupWriter(remote.branch.objects(), writer, entries)
    if remote.index.last() > last:
        texts, _deleted = remote.published_texts()
        results = remote.index.ids(last)
        for earlier, rows in groupby(results, key=itemgetter(0)):
            if earlier in texts:
                ids = (oid for row in rows for oid in named_ids(*row[1:]))
                table.add(earlier, texts[earlier], ids)
    table.add(number, added.published, ids_of(added.tasks))
    return table.finish()


def _earlier(remote: GitRemote, tip: Oid | None) -> tuple[list[Entry], int]:
    """Return the last table of the branch, and the number of its last publication."""
    if tip is None:
        return [], 0
    return last_table(remote.branch.objects(), _newest_first(remote, tip))


def _newest_first(remote: GitRemote, tip: Oid) -> Iterator[Oid]:
    yield tip  # which has a table, unless an older prov published it
    yield from map(bytes.fromhex, reversed(remote.branch.commits(tip)[:-1]))
