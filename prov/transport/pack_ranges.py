"""Locate objects in a remote pack by its index, and read them from ranges of that pack."""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from prov.errors import StoreError
from prov.store.objects import Kind, Oid
from prov.store.packs import KIND_NAMES, PackFile, inflate, read_entry_header

_CHECKSUM = 20
_HEADER = 12
"""Bytes of a pack before its first object."""


class PackIndex:
    """A pack's index in the order of the pack. Raises StoreError for an invalid or damaged file.

    The file is untrusted: an offset in it can be wrong. It can be large, so it is mapped, not read
    into memory.
    """

    def __init__(self, path: Path) -> None:
        try:
            _check_sum(path)
            self._pack = PackFile(path)
            offsets = array("Q", self._pack.offsets())
        except (struct.error, ValueError, IndexError, OverflowError, OSError) as error:
            raise StoreError(f"{path} is not a valid pack index: {error}") from error
        order = sorted(range(len(offsets)), key=offsets.__getitem__)
        self._places = array("I", order)
        self._offsets = array("Q", (offsets[place] for place in order))

    def __contains__(self, oid: Oid) -> bool:
        return self._pack.find(oid) >= 0

    def extent(self, oid: Oid, size: int) -> tuple[int, int] | None:
        """Return an object's start and end in a pack of `size` bytes, or None if it is missing."""
        place = self._pack.find(oid)
        if place < 0:
            return None
        number = bisect_left(self._offsets, self._pack.offset(place))
        start, end = self._offsets[number], self._end(number, size)
        return (start, end) if _HEADER <= start < end <= size - _CHECKSUM else None

    def within(self, start: int, end: int, size: int) -> Iterator[tuple[Oid, int, int]]:
        """Yield the id, start and end of every object that lies entirely between two offsets."""
        for number in range(bisect_left(self._offsets, start), len(self._offsets)):
            stop = self._end(number, size)
            if stop > end:
                return
            yield self._pack.oid(self._places[number]), self._offsets[number], stop

    def _end(self, number: int, size: int) -> int:
        return self._offsets[number + 1] if number + 1 < len(self._offsets) else size - _CHECKSUM


def _check_sum(path: Path) -> None:
    """Raise ValueError unless a file ends with the SHA-1 of its other bytes, as an index does."""
    digest = hashlib.sha1()
    with open(path, "rb") as stream:
        remaining = os.fstat(stream.fileno()).st_size - _CHECKSUM
        while remaining > 0 and (chunk := stream.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
        if stream.read() != digest.digest():
            raise ValueError("checksum mismatch")


def open_entry(fd: int, start: int) -> tuple[Kind, int, Iterator[bytes]] | None:
    """Return the kind, size and content in chunks of a packed object at an offset in a file.

    Returns None for an invalid entry or a delta. The chunks raise ValueError if the content cannot
    be inflated or has a different size.
    """
    try:
        number, size, length = read_entry_header(os.pread(fd, 32, start))
    except ValueError:
        return None
    if number not in KIND_NAMES:
        return None
    return KIND_NAMES[number], size, inflate(fd, start + length, size)
