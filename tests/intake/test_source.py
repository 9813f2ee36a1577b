"""Objects from a remote must have the announced size and match their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from prov.errors import StoreError
from prov.intake.source import BlobReader, Content, joined, read_whole, whole_content
from prov.intake.wellformed import BadObject
from prov.store.objects import object_id

DATA = b"content"
OID = object_id("blob", DATA)


def failing(error: Exception, *chunks: bytes) -> Iterator[bytes]:
    yield from chunks
    raise error


def test_an_object_is_read_whole() -> None:
    source = {OID: whole_content("blob", DATA)}.get
    assert read_whole(source, OID, len(DATA)) == ("blob", DATA)
    assert read_whole(lambda _oid: None, OID, 100) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (Content("blob", 7, iter([b"con", b"tent", b"more"])), "its announced size"),
        (Content("blob", 7, iter([b"con"])), "its announced size"),
        (Content("blob", 7, iter([b"content"[::-1]])), "does not match its id"),
        (Content("tree", 7, iter([DATA])), "does not match its id"),
        (Content("blob", 101, iter([])), "101 bytes, the limit is 100"),
        (
            Content("blob", 7, failing(StoreError("torn"), b"con")),
            f"{OID.hex()}: torn",
        ),
        (Content("blob", 7, failing(ValueError("bad"))), f"{OID.hex()}: bad"),
    ],
)
def test_an_object_that_differs_from_its_announcement(content: Content, why: str) -> None:
    with pytest.raises(BadObject, match=re.escape(why)):
        read_whole(lambda _oid: content, OID, 100)


def test_no_more_than_the_announced_size_is_read() -> None:
    chunks = iter([b"x"] * 1000)
    with pytest.raises(BadObject):
        joined(Content("blob", 7, chunks), OID)
    assert sum(1 for _ in chunks) > 900


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_blob_is_read_in_pieces_and_hashed(size: int) -> None:
    hashed: list[bytes] = []
    reader = BlobReader(Content("blob", 7, iter([b"", b"con", b"", b"tent"])), OID, hashed.append)
    pieces = list(iter(lambda: reader.read(size), b""))
    assert b"".join(pieces) == DATA == b"".join(hashed)
    assert max(map(len, pieces)) <= size


def test_an_unreadable_blob() -> None:
    reader = BlobReader(
        Content("blob", 7, failing(StoreError("torn"), b"con")), OID, lambda _: None
    )
    assert reader.read(10) == b"con"
    with pytest.raises(BadObject, match="torn"):
        reader.read(10)
