"""Ids in inputs trees: their kind is told by their length alone."""

from __future__ import annotations

import pytest

from prov.errors import StoreError
from prov.records.ids import Unihash
from prov.records.record import parse_edge_id


@pytest.mark.parametrize(("digits", "is_unihash"), [(40, False), (64, True)])
def test_kind_of_an_id_follows_from_its_digits(digits: int, is_unihash: bool) -> None:
    oid = parse_edge_id(b"a" * digits)
    assert isinstance(oid, Unihash) == is_unihash
    assert oid.hex() == "a" * digits


@pytest.mark.parametrize("text", [b"", b"a" * 41, b"A" * 40, b"a" * 40 + b"\n", b"x" * 64])
def test_other_texts_are_refused(text: bytes) -> None:
    with pytest.raises(StoreError, match="is not an id"):
        parse_edge_id(text)
