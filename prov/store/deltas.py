"""Resolve git's deltas: objects stored as differences from another object (gitformat-pack).

Packs written by git contain them: those of large blobs, and received ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prov.store.objects import Kind, Oid, object_id

_COPY = 128
"""Set in an instruction that copies from the base, unset in one that contains its bytes."""


class Delta(NamedTuple):
    """A delta in a pack: its start and end offsets, and its base as an offset or an id."""

    start: int
    end: int
    base: int | Oid
    data: bytes


def resolve(
    deltas: list[Delta], objects: dict[int, tuple[Oid, Kind]], content_at: Callable[[int], bytes]
) -> Iterator[tuple[Kind, bytes]]:
    """Yield the kind and content of every delta whose base can be read.

    `objects` maps the offset of each object that is not a delta to its id and kind.
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
"""The largest content of a delta, in bytes.

Git does not store larger objects as deltas (core.bigFileThreshold).
"""


def apply(base: bytes, delta: bytes, *, most: int = MOST) -> bytes | None:
    """Return the content of a delta; None if it does not match its base or exceeds `most` bytes."""
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
    """Return the bytes that one instruction of a delta produces, and the next one's offset.

    Raises ValueError for an invalid instruction or more than `most` bytes, and IndexError for a
    truncated instruction.
    """
    instruction, at = delta[at], at + 1
    if instruction & _COPY:
        offset, length, at = _read_copy(delta, instruction, at)
        source, start = base, offset
    else:
        length, source, start = instruction, delta, at
        at += length
    if not 0 < length <= most or start + length > len(source):
        raise ValueError("an instruction is out of bounds")
    return source[start : start + length], at


def _read_copy(delta: bytes, instruction: int, at: int) -> tuple[int, int, int]:
    """Return the offset and length in the base of a copy instruction, and the instruction's end.

    Seven bits of the instruction select the bytes of the two numbers that follow; the other bytes
    are zero.
    """
    number = 0
    for bit in range(7):
        if instruction & 1 << bit:
            number, at = number | delta[at] << 8 * bit, at + 1
    offset, length = number & 0xFFFFFFFF, number >> 32
    return offset, length or 0x10000, at


def read_size(data: bytes, at: int) -> tuple[int, int]:
    """Return the size encoded at an offset of a delta, and the offset after it.

    Raises IndexError for a truncated size and ValueError for a size longer than ten bytes.
    """
    size = shift = 0
    while True:
        byte, at = data[at], at + 1
        size |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a size has too many bytes")
        if not byte & 128:
            return size, at


def read_distance(data: bytes, at: int) -> tuple[int, int]:
    """Return the distance in bytes from a delta back to its base, and the offset after that number.

    Raises IndexError for a truncated number.
    """
    byte = data[at]
    distance, at = byte & 127, at + 1
    while byte & 128:
        byte = data[at]
        distance, at = (distance + 1) << 7 | byte & 127, at + 1
    return distance, at
