from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.transport.pack_ranges import PackIndex, open_entry


@pytest.fixture
def oids(store: Store) -> list[Oid]:
    with store.objects.writer() as writer:
        return [writer.add("blob", b"%d" % number * 50) for number in range(40)]


@pytest.fixture
def pack(store: Store, oids: list[Oid]) -> Path:
    """Return the pack that contains these objects, not the one with the empty tree."""
    [pack] = [pack for pack in store.objects.packs() if pack.find(oids[0]) >= 0]
    return pack.path


def test_objects_are_read_from_their_bytes_alone(
    pack: Path, oids: list[Oid], tmp_path: Path
) -> None:
    index, data = PackIndex(pack.with_suffix(".idx")), pack.read_bytes()
    for number, oid in enumerate(oids):
        extent = index.extent(oid, len(data))
        assert extent is not None
        (tmp_path / "part").write_bytes(data[slice(*extent)])
        with open(tmp_path / "part", "rb") as part:
            entry = open_entry(part.fileno(), 0)
            assert entry is not None
            kind, size, chunks = entry
            content = b"".join(chunks)
        assert (kind, content) == ("blob", b"%d" % number * 50)
        assert size == len(content)


def test_the_objects_within_a_range_cover_it(pack: Path, oids: list[Oid]) -> None:
    index, size = PackIndex(pack.with_suffix(".idx")), pack.stat().st_size
    rows = list(index.within(0, size, size))
    assert {oid for oid, _, _ in rows} == set(oids)
    assert all(end == start for (_, _, end), (_, start, _) in pairwise(rows))
    middle = rows[10:20]
    assert list(index.within(middle[0][1], middle[-1][2], size)) == middle
    assert list(index.within(middle[0][1], middle[-1][2] - 1, size)) == middle[:-1]


def test_an_object_of_another_pack(pack: Path) -> None:
    index = PackIndex(pack.with_suffix(".idx"))
    assert b"x" * 20 not in index
    assert index.extent(b"x" * 20, 1000) is None


def test_an_object_beyond_a_pack_that_is_cut_off(pack: Path, oids: list[Oid]) -> None:
    assert PackIndex(pack.with_suffix(".idx")).extent(oids[-1], 100) is None


@pytest.mark.parametrize("size", [0, 40, 1072, -1])
def test_an_index_that_is_cut_off(pack: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "pack-x.idx").write_bytes(pack.with_suffix(".idx").read_bytes()[:size])
    with pytest.raises(StoreError):
        PackIndex(tmp_path / "pack-x.idx")


def test_an_index_with_a_flipped_bit(pack: Path, tmp_path: Path) -> None:
    data = bytearray(pack.with_suffix(".idx").read_bytes())
    data[1040] ^= 1
    (tmp_path / "pack-x.idx").write_bytes(data)
    with pytest.raises(StoreError, match="is not a valid pack index"):
        PackIndex(tmp_path / "pack-x.idx")


@pytest.mark.parametrize("data", [b"", b"\xff" * 32, b"\x60", b"\x00"])
def test_bytes_that_are_not_a_whole_object(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(data)
    with open(tmp_path / "part", "rb") as part:
        assert open_entry(part.fileno(), 0) is None
