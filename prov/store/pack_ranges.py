"""A pack that is elsewhere: which bytes of it an object takes, by its index, and the object out of these bytes."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from isal import isal_zlib

from prov.errors import StoreError
from prov.store.objects import Kind, Oid
from prov.store.packs import KIND_NAMES, PackFile, read_entry_header

MOST = 1 << 32
"""Bytes of one object."""


class PackIndex:
    """An index of a pack, in the order of the pack. Raises StoreError for a file that is none."""

    def __init__(self, path: Path) -> None:
        try:
            pack = PackFile(path)
            rows = sorted((offset, oid) for oid, offset in pack.offsets().items())
        except (struct.error, ValueError, IndexError, OSError) as error:
            raise StoreError(f"{path} is no index of a pack") from error
        self._offsets = [offset for offset, _ in rows]
        self._oids = [oid for _, oid in rows]
        self._places = {oid: place for place, oid in enumerate(self._oids)}

    def __contains__(self, oid: Oid) -> bool:
        return oid in self._places

    def extent(self, oid: Oid, size: int) -> tuple[int, int] | None:
        """Return where an object begins and ends in a pack of so many bytes; None if it is not in it."""
        place = self._places.get(oid)
        return None if place is None else (self._offsets[place], self._end(place, size))

    def within(self, start: int, end: int, size: int) -> Iterator[tuple[Oid, int, int]]:
        """Yield every object that lies between two offsets as a whole, with where it begins and ends."""
        for place in range(bisect_left(self._offsets, start), len(self._offsets)):
            stop = self._end(place, size)
            if stop > end:
                return
            yield self._oids[place], self._offsets[place], stop

    def _end(self, place: int, size: int) -> int:
        return self._offsets[place + 1] if place + 1 < len(self._offsets) else size - 20


def parse_entry(data: bytes) -> tuple[Kind, bytes] | None:
    """Return kind and content of an object as a pack has it; None for what is none, or a delta."""
    try:
        number, size, length = read_entry_header(data)
        if number not in KIND_NAMES or size > MOST:
            return None
        content = isal_zlib.decompressobj().decompress(data[length:], size + 1)
    except (IndexError, isal_zlib.error):  # type: ignore[misc]  # isal's stub says it is a value
        return None
    return (KIND_NAMES[number], content) if len(content) == size else None
