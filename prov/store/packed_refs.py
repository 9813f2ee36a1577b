"""Read a part of packed-refs, and change some of its lines, both found by bisection.

Git writes the file sorted by name and replaces it as a whole, so an open file never changes (see
git-pack-refs and git's refs/packed-backend.c).
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prov.errors import CHECK_STORE, StoreError
from prov.store.objects import Oid

BYTES_PER_LOOKUP = 4_000
"""The bytes of the file that are parsed in the time of a bisection, 25 µs."""
NO_FILE = (0, 0, 0)

HEADER = b"# pack-refs with: peeled fully-peeled sorted \n"
"""The header of a file in which each annotated tag's line is followed by the id of its object."""
Data = mmap.mmap | bytes

_LINE = re.compile(rb"([0-9a-f]{40}) (.+)", re.DOTALL)
_SKIPPED = (b"#", b"^", b"")
"""The first bytes of lines that are not refs: the header, and the peeled id of an annotated tag."""


class PackedRefs:
    """A packed-refs file as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        """Map a file; without a file there are no refs. Raises StoreError if it is unreadable."""
        self.path = path
        self._data: Data = b""
        self._lookups = 0
        self._all: dict[str, Oid] | None = None
        self.stamp = NO_FILE
        try:
            with open(path, "rb") as stream:
                self.stamp = _stamp(os.fstat(stream.fileno()))
                if self.stamp[1]:
                    self._data = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}", hint=CHECK_STORE) from error

    def is_current(self) -> bool:
        """Return whether the file at the path is still this one."""
        try:
            return _stamp(os.stat(self.path)) == self.stamp
        except OSError:
            return self.stamp == NO_FILE

    def below(self, prefix: str) -> dict[str, Oid]:
        """Return the refs that begin with a prefix, in the file's order.

        Raises StoreError for each invalid line that is read: such a line misleads a bisection.
        """
        start = prefix.encode("utf-8", "surrogateescape")
        try:
            return dict(_refs(_rows(self._data, start), start))
        except ValueError as error:
            raise StoreError(f"{self.path}: {error}", hint=CHECK_STORE) from error

    def lines(self, prefix: str) -> list[bytes]:
        """Return the lines `ID NAME` of the refs that begin with a prefix, unparsed.

        This takes a tenth of the time of `below`. Raises StoreError if the search reads an invalid
        line.
        """
        start = prefix.encode("utf-8", "surrogateescape")
        try:
            rows = _rows(self._data, start)
        except ValueError as error:
            raise StoreError(f"{self.path}: {error}", hint=CHECK_STORE) from error
        lines = [row for row in rows.split(b"\n") if row[:1] not in _SKIPPED]
        return lines if _is_sorted(self._data) else [x for x in lines if x[41:].startswith(start)]

    def get(self, name: str) -> Oid | None:
        """Return the id of a ref, or None. Raises StoreError for an invalid line."""
        # Bisect for few refs, and parse the file for many: the total cost is at most twice that of
        # the better way.
        self._lookups += 1
        if self._all is None and self._lookups * BYTES_PER_LOOKUP > len(self._data):
            self._all = self.below("refs/")
        refs = self.below(name) if self._all is None else self._all
        return refs.get(name)

    def edited(self, changes: Mapping[str, bytes]) -> Iterator[bytes]:
        """Yield the content of the file with other lines for some refs.

        A ref can have two lines, the second with the id that it peels to; without lines, it is
        deleted. Raises StoreError for an invalid line that is read.
        """
        try:
            yield from _edited(self._data, changes)
        except ValueError as error:
            raise StoreError(f"{self.path}: {error}", hint=CHECK_STORE) from error


def _edited(data: Data, changes: Mapping[str, bytes]) -> Iterator[bytes]:
    if not _is_sorted(data):
        data = _sorted(data)
    if data[-1:] != b"\n":
        raise ValueError("the last line is incomplete")
    begin = data.find(b"\n") + 1
    yield data[:begin]
    names = sorted((name.encode("utf-8", "surrogateescape"), name) for name in changes)
    for encoded, name in names:
        at = _first(data, begin, encoded.__le__)
        yield data[begin:at]
        yield changes[name]
        begin = _first(data, at, encoded.__lt__)
    yield data[begin:]


def _is_sorted(data: Data) -> bool:
    header = data[: max(data.find(b"\n"), 0)]
    return header.startswith(b"# pack-refs with:") and b" sorted" in header


def _sorted(data: Data) -> bytes:
    """Return the refs of an unsorted file as a sorted one."""
    if data[-1:] not in (b"", b"\n"):
        raise ValueError("the last line is incomplete")
    rows = [row for row in data[:].split(b"\n") if row[:1] not in _SKIPPED]
    refs = sorted((name, oid) for oid, name in map(_parse, rows))
    # without peeled ids, which git then finds itself
    header = b"# pack-refs with: sorted \n" if rows else HEADER
    return header + b"".join(b"%s %s\n" % (oid, name) for name, oid in refs)


def _stamp(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_ino, state.st_size, state.st_mtime_ns


def _refs(rows: bytes, prefix: bytes) -> Iterator[tuple[str, Oid]]:
    """Yield the refs with a prefix in some lines. Raises ValueError for an invalid line."""
    for row in rows.split(b"\n"):
        if row[:1] in _SKIPPED:
            continue
        oid, name = _parse(row)
        if name.startswith(prefix):
            yield name.decode("utf-8", "surrogateescape"), bytes.fromhex(oid.decode())


def _parse(row: bytes) -> tuple[bytes, bytes]:
    """Return the id and the name of a ref's line. Raises ValueError."""
    match = _LINE.fullmatch(row)
    if match is None:
        raise ValueError(f"invalid line: {row[:100]!r}")
    oid, name = match.groups()
    return oid, name


def _rows(data: Data, prefix: bytes) -> bytes:
    """Return the lines that can have names with a prefix: all lines of an unsorted file."""
    if not _is_sorted(data):
        return data[:]
    # all names with a prefix are adjacent
    begin = _first(data, data.find(b"\n") + 1, lambda name: name >= prefix)
    return data[begin : _first(data, begin, lambda name: not name.startswith(prefix))]


def _first(data: Data, begin: int, matches: Callable[[bytes], bool]) -> int:
    """Return the offset of the first ref's line from `begin` on whose name matches.

    After one name that matches, all do.
    """
    low, high = begin, len(data)
    while low < high:
        middle = _line_of_ref(data, low, (low + high) // 2)
        end = _line_end(data, middle)
        if matches(_parse(data[middle:end])[1]):
            high = middle
        else:
            low = _past_peeled(data, end + 1)
    return low


def _line_of_ref(data: Data, low: int, at: int) -> int:
    """Return the begin of the line around an offset, or of the ref's line before a peeled one."""
    begin = max(data.rfind(b"\n", low, at) + 1, low)
    if data[begin : begin + 1] == b"^" and begin > low:
        begin = max(data.rfind(b"\n", low, begin - 1) + 1, low)
    return begin


def _line_end(data: Data, begin: int) -> int:
    end = data.find(b"\n", begin)
    return len(data) if end < 0 else end


def _past_peeled(data: Data, at: int) -> int:
    """Return an offset, or that after the peeled line there."""
    if data[at : at + 1] == b"^":
        return _line_end(data, at) + 1
    return min(at, len(data))
