"""Git's deltas: an object told by what is different from another.

prov writes none; packs that git made have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prov.store.objects import Kind, Oid, object_id


class Delta(NamedTuple):
    """A delta in a pack: where it stands, and what it is based on, by place or by id."""

    start: int
    end: int
    base: int | Oid
    data: bytes


def resolve(
    deltas: list[Delta], places: dict[int, tuple[Oid, Kind]], content_at: Callable[[int], bytes]
) -> Iterator[tuple[Kind, bytes]]:
    """Yield kind and content of every delta whose base can be read; `places` tells where whole
    objects are.
    """
    offsets = {oid: at for at, (oid, _) in places.items()}
    kinds = {at: kind for at, (_, kind) in places.items()}
    made: dict[int, bytes] = {}
    pending = deltas
    while pending:
        left = []
        for delta in pending:
            at = offsets.get(delta.base) if isinstance(delta.base, bytes) else delta.base
            if at is None or at not in kinds:
                left.append(delta)
                continue
            content = apply(made[at] if at in made else content_at(at), delta.data)
            if content is not None:
                made[delta.start], kinds[delta.start] = content, kinds[at]
                offsets[object_id(kinds[at], content)] = delta.start
                yield kinds[at], content
        if len(left) == len(pending):
            return
        pending = left


MOST = 1 << 29
"""Bytes of what a delta makes: git stores larger objects whole (core.bigFileThreshold)."""


def apply(base: bytes, delta: bytes, *, most: int = MOST) -> bytes | None:
    """Return what a delta makes of its base, None where it does not fit, or makes more than `most`
    bytes.
    """
    try:
        before, at = read_size(delta, 0)
        after, at = read_size(delta, at)
        if before != len(base) or after > most:
            return None
        pieces, left = [], after
        while at < len(delta):
            order, at = delta[at], at + 1
            if not order & 128:
                if not order or order > left or at + order > len(delta):
                    return None
                pieces.append(delta[at : at + order])
                at, left = at + order, left - order
                continue
            offset = length = 0
            for bit in range(4):
                if order & 1 << bit:
                    offset, at = offset | delta[at] << 8 * bit, at + 1
            for bit in range(3):
                if order & 16 << bit:
                    length, at = length | delta[at] << 8 * bit, at + 1
            length = length or 0x10000
            if length > left or offset + length > len(base):
                return None
            pieces.append(base[offset : offset + length])
            left -= length
    except (IndexError, ValueError):
        return None
    return None if left else b"".join(pieces)


def read_size(data: bytes, at: int) -> tuple[int, int]:
    """Return a size that stands at a place in a delta, and where it ends.

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
