"""Read and write the lookup table of a git remote: a folder in the commits of its index.

The table in a commit covers the publications of this commit and of all earlier ones. A publisher
takes over the segments of the previous commit and adds one. A commit without a table was made by an
older prov: the next publisher adds what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prov.remote.index_branch import UNREADABLE, PublishedId
from prov.remote.lookup.table import (
    Lookup,
    Segment,
    SegmentBuilder,
    decode_segment,
    joined,
    make_lookup,
    segments_to_join,
)
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectDatabase, ObjectWriter

LOOKUP = "lookup"
"""Entry of a commit's tree: a folder with the segments, named by their first publication."""
MOST_SEGMENTS = 1000


def read_lookup(objects: ObjectDatabase, commit: Oid, most: int) -> Lookup | None:
    """Return the table in a commit of the index; None if it has none or an invalid one.

    `most` is the maximum number of bytes of all segments.
    """
    try:
        entries = segment_entries(objects, commit)
        if len(entries) > MOST_SEGMENTS:
            return None
        if sum(objects.header(entry.oid)[1] for entry in entries) > most:
            return None
        segments = [_read_segment(objects, entry) for entry in entries]
        return make_lookup(segments) if segments else None
    except UNREADABLE:
        return None


def segment_entries(objects: ObjectDatabase, commit: Oid) -> list[Entry]:
    """Return the segments in a commit of the index. Raises one of UNREADABLE."""
    for entry in objects.tree(objects.commit(commit).tree):
        if entry.name == LOOKUP.encode() and entry.mode == MODE_DIRECTORY:
            # a longer number is a larger one
            return sorted(objects.tree(entry.oid), key=lambda entry: (len(entry.name), entry.name))
    return []


def _read_segment(objects: ObjectDatabase, entry: Entry) -> Segment:
    return decode_segment(objects.blob(entry.oid))


def last_table(objects: ObjectDatabase, commits: Iterable[Oid]) -> tuple[list[Entry], int]:
    """Return the segments of the first of some commits that has any, and their last number."""
    for commit in commits:
        try:
            entries = segment_entries(objects, commit)
            if entries:
                return entries, _read_segment(objects, entries[-1]).rows[-1].number
        except UNREADABLE:
            continue
    return [], 0


@dataclass(slots=True)
class LookupWriter:
    """Adds publications to a table, in the order of their numbers."""

    objects: ObjectDatabase
    """Has the segments of the table."""
    writer: ObjectWriter
    entries: list[Entry]
    """The segments so far."""
    _sizes: list[int] = field(init=False)
    _builder: SegmentBuilder = field(default_factory=SegmentBuilder)

    def __post_init__(self) -> None:
        self._sizes = [self.objects.header(entry.oid)[1] for entry in self.entries]

    def add(self, number: int, publication: PublishedId, oids: Iterable[Oid]) -> None:
        """Add a publication and the ids that it names."""
        self._builder.add(number, publication.text, publication.signature, oids)
        if self._builder.is_full:
            self._write(self._builder.build())

    def finish(self) -> Oid:
        """Join the last segments, if there are many; return the folder of the table."""
        if self._builder.rows:
            self._write(self._joined(self._builder.build()))
        return self.writer.add_tree(self.entries)

    def _joined(self, segment: Segment) -> Segment:
        """Return a segment joined with earlier ones, which are removed from the table."""
        count = segments_to_join([*self._sizes, len(segment.encode())]) - 1
        if count < 1:
            return segment
        earlier = [_read_segment(self.objects, entry) for entry in self.entries[-count:]]
        del self.entries[-count:]
        return joined([*earlier, segment])

    def _write(self, segment: Segment) -> None:
        name = b"%08d" % segment.rows[0].number
        data = segment.encode()
        self.entries.append(Entry(name, MODE_FILE, self.writer.add_blob(data)))
        self._sizes.append(len(data))
