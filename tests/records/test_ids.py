"""Tests of the kinds of ids: a unihash is distinguished from object ids by its class."""

from __future__ import annotations

import pytest

from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash, TreeId, Unihash


@pytest.mark.parametrize("kind", [CommitId, TreeId, TaskHash, OutputId, StaticKey])
def test_object_ids_are_plain_bytes(kind: type) -> None:
    oid = bytes(range(20))
    assert kind(oid) is oid


def test_a_unihash_is_bytes_of_a_class_of_its_own() -> None:
    unihash = Unihash(bytes(32))
    assert unihash == bytes(32)
    assert unihash.hex() == "0" * 64
    assert isinstance(unihash, Unihash)
    assert not isinstance(TaskHash(bytes(32)), Unihash)
    assert hash(unihash) == hash(bytes(32))
