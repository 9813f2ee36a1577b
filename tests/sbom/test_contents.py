"""Digests are those of sha256sum, sha1sum and git; each content is read once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.sbom.contents import FILE, MOST_TAGS, SEARCHED, ContentReader, license_tags
from prov.store.repository import Store

DATA = b"// SPDX-License-Identifier: MIT OR Apache-2.0\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def write(store: Store, *texts: bytes) -> list[bytes]:
    with store.objects.writer() as writer:
        return [writer.add("blob", text) for text in texts]


def test_facts_are_those_of_the_content(store: Store) -> None:
    (oid,) = write(store, DATA)
    facts = ContentReader(store).read([oid, oid])[oid]
    assert facts.sha256 == hashlib.sha256(DATA).digest()
    assert facts.sha1 == hashlib.sha1(DATA).digest()
    assert facts.gitoid == hashlib.sha256(b"blob %d\0" % len(DATA) + DATA).digest()
    assert (facts.size, facts.tags) == (len(DATA), ("MIT OR Apache-2.0",))


def test_a_content_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    oids = write(store, DATA, b"")
    first = ContentReader(store).read(oids)
    monkeypatch.setattr(store.objects, "stream_blob", None)
    assert ContentReader(store).read(oids) == first


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_cache_is_replaced(store: Store, damage: bytes) -> None:
    (oid,) = write(store, DATA)
    first = ContentReader(store).read([oid])
    (store.cache / FILE).write_bytes(damage)
    assert ContentReader(store).read([oid]) == first
    assert ContentReader(store).read([oid]) == first


def test_a_cache_that_cannot_be_written_is_not_used(store: Store) -> None:
    (oid,) = write(store, DATA)
    (store.cache / FILE).mkdir(parents=True)
    assert ContentReader(store).read([oid])[oid].size == len(DATA)


def test_a_missing_content_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError):
        ContentReader(store).read([bytes(20)])


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (b"/* SPDX-License-Identifier: GPL-2.0-only */", ["GPL-2.0-only"]),
        (b"# SPDX-License-Identifier:\tMIT\r\n", ["MIT"]),
        (b"<!-- SPDX-License-Identifier: (MIT OR  BSD-3-Clause) -->", ["(MIT OR BSD-3-Clause)"]),
        (b"x SPDX-License-Identifier: A\nSPDX-License-Identifier: B\n" * 2, ["A", "B"]),
        (b"SPDX-License-Identifier:\n", []),
        (b"SPDX-License-Identifier: \xff", []),
        (b"".join(b"SPDX-License-Identifier: L-%d\n" % n for n in range(99)), None),
    ],
)
def test_license_tags(text: bytes, tags: list[str] | None) -> None:
    found = license_tags(text)
    assert found == tags if tags is not None else len(found) == MOST_TAGS


def test_tags_far_into_a_large_file_are_not_searched(store: Store) -> None:
    (oid,) = write(store, bytes(SEARCHED) + DATA)
    assert ContentReader(store).read([oid])[oid].tags == ()
