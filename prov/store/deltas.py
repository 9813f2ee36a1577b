"""Git's deltas: an object stored as its differences from another (gitformat-pack).

prov writes none; packs that git made have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prov.store.objects import Kind, Oid, object_id

_COPY = 128
"""The bit of an instruction that copies from the base; without it, it holds its bytes itself."""


class Delta(NamedTuple):
    """A delta in a pack: where it begins and ends, and its base, by offset or by id."""

    start: int
    end: int
    base: int | Oid
    data: bytes


def resolve(
    deltas: list[Delta], objects: dict[int, tuple[Oid, Kind]], content_at: Callable[[int], bytes]
) -> Iterator[tuple[Kind, bytes]]:
    """Yield kind and content of every delta whose base can be read.

    `objects` has the id and kind of each object that is stored whole, by its offset.
    """
    offsets = {oid: at for at, (oid, _) in objects.items()}
    kinds = {at: kind for at, (_, kind) in objects.items()}
    contents: dict[int, bytes] = {}
    pending = deltas
    while pending:
        postponed = []
        for delta in pending:
            at = offsets.get(delta.base) if isinstance(delta.base, bytes) else delta.base
            if at is None or at not in kinds:
                postponed.append(delta)
                continue
            content = apply(contents[at] if at in contents else content_at(at), delta.data)
            if content is not None:
                contents[delta.start], kinds[delta.start] = content, kinds[at]
                offsets[object_id(kinds[at], content)] = delta.start
                yield kinds[at], content
        if len(postponed) == len(pending):
            return
        pending = postponed


MOST = 1 << 29
"""The largest content, in bytes, of a delta: git stores larger objects whole
(core.bigFileThreshold).
"""


def apply(base: bytes, delta: bytes, *, most: int = MOST) -> bytes | None:
    """Return the content of a delta; None if it does not fit its base, or has more than `most`
    bytes.
    """
    try:
        base_size, at = read_size(delta, 0)
        size, at = read_size(delta, at)
        if base_size != len(base) or size > most:
            return None
        pieces: list[bytes] = []
        while at < len(delta):
            piece, at = _read_piece(base, delta, at, size)
            pieces.append(piece)
            size -= len(piece)
    except (IndexError, ValueError):
        return None
    return None if size else b"".join(pieces)


def _read_piece(base: bytes, delta: bytes, at: int, most: int) -> tuple[bytes, int]:
    """Return what one instruction of a delta yields, and where the next one begins.

    Raises ValueError for an invalid one, or one that yields more than `most` bytes, IndexError for
    one that is cut off.
    """
    instruction, at = delta[at], at + 1
    if instruction & _COPY:
        offset, length, at = _read_copy(delta, instruction, at)
        source, start = base, offset
    else:
        length, source, start = instruction, delta, at
        at += length
    if not 0 < length <= most or start + length > len(source):
        raise ValueError("an instruction that does not fit")
    return source[start : start + length], at


def _read_copy(delta: bytes, instruction: int, at: int) -> tuple[int, int, int]:
    """Return offset and length, in the base, of a copy instruction, and where it ends.

    Seven bits of the instruction say which bytes of the two numbers follow; the others are zero.
    """
    number = 0
    for bit in range(7):
        if instruction & 1 << bit:
            number, at = number | delta[at] << 8 * bit, at + 1
    offset, length = number & 0xFFFFFFFF, number >> 32
    return offset, length or 0x10000, at


def read_size(data: bytes, at: int) -> tuple[int, int]:
    """Return the size that is encoded at an offset of a delta, and where it ends.

    Raises IndexError, ValueError.
    """
    size = shift = 0
    while True:
        byte, at = data[at], at + 1
        size |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a size that does not end")
        if not byte & 128:
            return size, at


def read_distance(data: bytes, at: int) -> tuple[int, int]:
    """Return how many bytes before a delta its base begins, and where that number ends.

    Raises IndexError.
    """
    byte = data[at]
    distance, at = byte & 127, at + 1
    while byte & 128:
        byte = data[at]
        distance, at = (distance + 1) << 7 | byte & 127, at + 1
    return distance, at
