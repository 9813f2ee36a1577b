"""Kinds of ids: a unihash is told from the ids of objects by its class."""

from __future__ import annotations

import pytest

from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash, TreeId, Unihash


@pytest.mark.parametrize("kind", [CommitId, TreeId, TaskHash, OutputId, StaticKey])
def test_ids_of_objects_are_the_bytes_that_they_were_made_of(kind: type) -> None:
    oid = bytes(range(20))
    assert kind(oid) is oid


def test_a_unihash_is_bytes_of_a_class_of_its_own() -> None:
    unihash = Unihash(bytes(32))
    assert unihash == bytes(32)
    assert unihash.hex() == "0" * 64
    assert isinstance(unihash, Unihash)
    assert not isinstance(TaskHash(bytes(32)), Unihash)
    assert hash(unihash) == hash(bytes(32))
