from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.store.deltas import Delta, apply, read_distance, read_size, resolve
from prov.store.objects import object_id

BASE = b"0123456789"


def delta(base_size: int, size: int, *instructions: bytes) -> bytes:
    """Return a delta of sizes below 128."""
    return bytes([base_size, size]) + b"".join(instructions)


def copy(offset: int, length: int) -> bytes:
    return bytes([0x80 | 0x01 | 0x10, offset, length])


def insert(data: bytes) -> bytes:
    return bytes([len(data)]) + data


# delta of BASE, content
DELTAS = {
    "copied": (delta(10, 4, copy(2, 4)), b"2345"),
    "inserted": (delta(10, 2, insert(b"ab")), b"ab"),
    "both": (delta(10, 5, copy(0, 3), insert(b"ab")), b"012ab"),
    "nothing": (delta(10, 0), b""),
    "another base": (delta(9, 4, copy(2, 4)), None),
    "too short": (delta(10, 5, copy(2, 4)), None),
    "too long": (delta(10, 3, copy(2, 4)), None),
    "beyond the base": (delta(10, 4, copy(8, 4)), None),
    "a length of zero, which is 64 KiB": (delta(10, 4, b"\x81\x00"), None),
    "the reserved instruction": (delta(10, 1, b"\0"), None),
    "cut off in an insertion": (delta(10, 5, b"\x05ab"), None),
    "cut off in a copy": (delta(10, 4, b"\x91\x02"), None),
    "no sizes": (b"", None),
}


@pytest.mark.parametrize("name", DELTAS)
def test_apply(name: str) -> None:
    data, content = DELTAS[name]
    assert apply(BASE, data) == content


def test_a_delta_over_the_limit_is_not_applied() -> None:
    assert apply(BASE, delta(10, 4, copy(2, 4)), most=3) is None


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.tuples(st.integers(0, 9)))))
def test_pieces_are_joined(pieces: list[bytes | tuple[int]]) -> None:
    content = b"".join(piece if isinstance(piece, bytes) else BASE[piece[0] :] for piece in pieces)[
        :127
    ]
    instructions = [insert(content[at : at + 9]) for at in range(0, len(content), 9)]
    assert apply(BASE, delta(10, len(content), *instructions)) == content


@given(st.integers(0, 1 << 60))
def test_sizes(size: int) -> None:
    encoded, rest = bytearray(), size
    while rest > 127:
        encoded.append(rest & 127 | 128)
        rest >>= 7
    encoded.append(rest)
    assert read_size(b"x" + encoded, 1) == (size, 1 + len(encoded))


def test_a_size_with_too_many_bytes_is_an_error() -> None:
    with pytest.raises(ValueError, match="too many bytes"):
        read_size(b"\xff" * 20, 0)


@pytest.mark.parametrize(
    ("data", "distance"), [(b"\x05", 5), (b"\x80\x00", 128), (b"\x81\x00", 256)]
)
def test_distances(data: bytes, distance: int) -> None:
    assert read_distance(data, 0) == (distance, len(data))


def test_deltas_are_resolved_in_any_order() -> None:
    first = b"2345"
    second = delta(4, 3, copy(0, 2), insert(b"!"))
    chain = [
        Delta(300, 310, object_id("blob", first), second),
        Delta(200, 210, 12, delta(10, 4, copy(2, 4))),
        Delta(400, 410, b"m" * 20, delta(10, 0)),
    ]
    objects = {12: (object_id("blob", BASE), "blob")}
    contents = list(resolve(chain, objects, {12: BASE}.__getitem__))  # type: ignore[arg-type]
    assert contents == [("blob", first), ("blob", b"23!")]
