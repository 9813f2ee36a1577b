"""Encode, decode and search lookup tables: which publications of a remote may name an id.

With the table, a client reads only the publications that name its task hashes. The table is a hint,
and not signed: a client uses only what it reads in a signed publication. A false table can hide
results, which a remote can do in any case, or cost time.

A table consists of segments. A segment lists successive publications in text, a blank line follows,
and then its entries, sorted, as big-endian numbers of eight bytes:

    prov lookup 1
    00000001 TEXT SIGNATURE ENTRIES

TEXT and SIGNATURE are the ids of blobs; SIGNATURE is `-` if there is none. ENTRIES is the number of
its entries. An entry is the first five bytes of an id, followed by the position, in three bytes, of
a publication in the list. It states that the publication names the id: a task hash, a static key or
the commit of a WORKDIR. A result without an entry for its task hash was deleted, and so was a
WORKDIR without one.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from prov.records.ids import StaticKey, TaskHash
from prov.remote.publication import NO_KEY, Publication, Published
from prov.store.objects import Oid

_HEADER = b"prov lookup 1"
_ROW = re.compile(rb"([0-9]{8,12}) ([0-9a-f]{40}) (-|[0-9a-f]{40}) ([0-9]{1,9})")
_PREFIX = 5
"""Bytes of an id in an entry. Of a billion entries, one in a thousand names another id as well."""
_SHIFT = 24
_POSITION = (1 << _SHIFT) - 1
_WIDTH = 8
"""Bytes of an entry."""
MOST_ENTRIES = 1 << 20
"""Number of entries from which a segment is complete."""
_MOST_BYTES = MOST_ENTRIES * _WIDTH
"""Segments with together more bytes are not joined."""
_MOST_ROWS = 1 << 16
"""Number of publications from which a segment is complete."""
_JOINED = 16
"""Number of segments of similar size that are joined to one."""
_HITS = 1000
"""Maximum number of publications, of each segment, that are read for one id."""


class Row(NamedTuple):
    """A publication in a lookup table."""

    number: int
    text: Oid
    """Blob of its text."""
    signature: Oid | None
    entries: int
    """Number of entries that name it. It decreases when a result or a WORKDIR is deleted."""


def named_ids(task_hash: TaskHash, static_key: StaticKey, workdir: Oid) -> list[Oid]:
    """Return the ids under which a result can be looked up."""
    return [oid for oid in (task_hash, static_key, workdir) if oid and oid != NO_KEY]


def ids_of(tasks: Iterable[Published]) -> Iterator[Oid]:
    """Yield the ids under which results can be looked up."""
    for task in tasks:
        yield from named_ids(task.task_hash, task.static_key, task.workdir)


@dataclass(frozen=True, slots=True)
class Segment:
    """Publications and the entries that name them."""

    rows: tuple[Row, ...]
    entries: array[int]
    """Sorted."""

    def find(self, oid: Oid) -> Sequence[Row]:
        """Return the publications that may name an id, oldest first; at most _HITS."""
        prefix = _prefix(oid)
        start = bisect_left(self.entries, prefix << _SHIFT)
        rows = []
        for entry in self.entries[start : start + _HITS]:
            if entry >> _SHIFT != prefix:
                break
            position = entry & _POSITION
            if position < len(self.rows):
                rows.append(self.rows[position])
        return rows

    def names(self, oid: Oid, position: int) -> bool:
        """Return whether the publication at a position may name an id."""
        entry = _prefix(oid) << _SHIFT | position
        place = bisect_left(self.entries, entry)
        return place < len(self.entries) and self.entries[place] == entry

    def encode(self) -> bytes:
        lines = [_HEADER]
        for row in self.rows:
            signature = row.signature.hex() if row.signature is not None else "-"
            line = f"{row.number:08d} {row.text.hex()} {signature} {row.entries}"
            lines.append(line.encode())
        return b"\n".join(lines) + b"\n\n" + _big_endian(self.entries).tobytes()


def decode_segment(data: bytes) -> Segment:
    """Decode a segment that `encode` wrote. Raises ValueError for any other data.

    The order of the entries is not checked: a wrong order hides results, as a missing entry does.
    """
    text, blank, binary = data.partition(b"\n\n")
    header, *lines = text.split(b"\n")
    if header != _HEADER or not blank or len(binary) % _WIDTH or len(lines) > _POSITION:
        raise ValueError("not a segment of a lookup table")
    rows = tuple(map(_row, lines))
    if any(row.number >= following.number for row, following in pairwise(rows)):
        raise ValueError("publications are not in order")
    entries = array("Q")
    entries.frombytes(binary)
    return Segment(rows, _big_endian(entries))


def _row(line: bytes) -> Row:
    match = _ROW.fullmatch(line)
    if match is None:
        raise ValueError(f"invalid line {line[:80]!r}")
    number, text, signature, count = (part.decode() for part in match.groups())
    signed = None if signature == "-" else bytes.fromhex(signature)
    return Row(int(number), bytes.fromhex(text), signed, int(count))


def _big_endian(entries: array[int]) -> array[int]:
    """Convert entries between the machine's byte order and the table's."""
    if sys.byteorder == "big":
        return entries
    swapped = array("Q", entries)
    swapped.byteswap()
    return swapped


@dataclass(slots=True)
class SegmentBuilder:
    """Collects publications and the ids that they name."""

    rows: list[Row] = field(default_factory=list)
    entries: array[int] = field(default_factory=lambda: array("Q"))
    """Not sorted."""

    def add(self, number: int, text: Oid, signature: Oid | None, oids: Iterable[Oid]) -> None:
        """Add a publication and the ids that it names."""
        position, before = len(self.rows), len(self.entries)
        self.entries.extend(_prefix(oid) << _SHIFT | position for oid in oids)
        self.rows.append(Row(number, text, signature, len(self.entries) - before))

    @property
    def is_full(self) -> bool:
        return len(self.entries) >= MOST_ENTRIES or len(self.rows) >= _MOST_ROWS

    def build(self) -> Segment:
        """Return the segment, and start a new one."""
        segment = Segment(tuple(self.rows), array("Q", sorted(self.entries)))
        self.rows, self.entries = [], array("Q")
        return segment


def joined(segments: Sequence[Segment]) -> Segment:
    """Return one segment with the content of successive segments."""
    rows: list[Row] = []
    entries: list[int] = []
    for segment in segments:
        first, count = len(rows), len(segment.rows)
        entries += [entry + first for entry in segment.entries if entry & _POSITION < count]
        rows += segment.rows
    entries.sort()
    return Segment(tuple(rows), array("Q", entries))


def segments_to_join(sizes: Sequence[int]) -> int:
    """Return how many of the last segments to join; 0 for none. `sizes` are the bytes of each.

    Segments of a similar size are joined when there are _JOINED, so an entry is written again only
    a few times.
    """
    *earlier, last = sizes
    count = 1
    while (run := _similar(earlier, last)) >= _JOINED - 1:
        last += sum(earlier[-run:])
        del earlier[-run:]
        count += run
    return count if count > 1 else 0


def _similar(sizes: Sequence[int], last: int) -> int:
    """Return how many of the last segments are not much larger than the one that follows."""
    total = last
    for count, size in enumerate(reversed(sizes)):
        total += size
        if _level(size) > _level(last) or total > _MOST_BYTES:
            return count
    return len(sizes)


def _level(size: int) -> int:
    """Return a number that grows by one when a size grows by the factor _JOINED."""
    return size.bit_length() // 4


def _prefix(oid: Oid) -> int:
    return int.from_bytes(oid[:_PREFIX], "big")


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup table: segments of successive publications."""

    segments: tuple[Segment, ...]

    def rows(self) -> list[Row]:
        return [row for segment in self.segments for row in segment.rows]

    def find(self, oid: Oid) -> list[Row]:
        """Return the publications that may name an id, oldest first."""
        return [row for segment in self.segments for row in segment.find(oid)]

    def without_deleted(self, number: int, publication: Publication) -> Publication:
        """Return a listed publication without the results and WORKDIRs that were deleted."""
        for segment in self.segments:
            if segment.rows[0].number <= number <= segment.rows[-1].number:
                position = bisect_left(segment.rows, number, key=_number)
                tasks = tuple(_present(segment, position, publication.tasks))
                return replace(publication, tasks=tasks)
        return publication


def _number(row: Row) -> int:
    return row.number


def _present(segment: Segment, position: int, tasks: Iterable[Published]) -> Iterator[Published]:
    for task in tasks:
        if not segment.names(task.task_hash, position):
            continue
        if task.workdir and not segment.names(task.workdir, position):
            yield replace(task, workdir=b"", workdir_digest=b"")
        else:
            yield task


def make_lookup(segments: Sequence[Segment]) -> Lookup:
    """Return a table of segments in order. Raises ValueError if their publications overlap."""
    if not all(segment.rows for segment in segments):
        raise ValueError("a segment without publications")
    for segment, following in pairwise(segments):
        if segment.rows[-1].number >= following.rows[0].number:
            raise ValueError("publications are not in order")
    return Lookup(tuple(segments))
