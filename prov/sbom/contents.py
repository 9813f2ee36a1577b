"""Compute what a bill states of file contents: digests and license tags, once for each content.

Plain digests are those of the content alone, as `sha256sum` prints them. The ids of OmniBOR are
git's: digests of a header and the content. prov's blob ids are the SHA-1 ones.

Results are cached by blob id in a database that may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from prov.progress import counted
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.transport.database import delete_database, open_database

FILE = "contents"
"""Name in the store's cache."""
SEARCHED = 1 << 20
"""Bytes at the start of a file that are searched for license tags."""
MOST_TAGS = 20
_TABLE = (
    "create table contents1 (oid blob primary key, sha256 blob, sha1 blob, gitoid blob,"
    " size integer, licenses text) without rowid"
)
_TYPES = (bytes, bytes, bytes, int, str)
_TAG = re.compile(rb"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+:() \t-]{1,200})")


class ContentFacts(NamedTuple):
    """What is known of a content."""

    sha256: bytes
    sha1: bytes
    gitoid: bytes
    """Its id in git's SHA-256 format."""
    size: int
    """Bytes."""
    licenses: str
    """The expressions of its SPDX-License-Identifier tags, one on each line."""

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self.licenses.splitlines())


class ContentReader:
    """Reads contents in a store, and caches the result."""

    def __init__(self, store: Store) -> None:
        self._objects = store.objects
        self._path: Path = store.cache / FILE

    def read(self, oids: Iterable[Oid]) -> dict[Oid, ContentFacts]:
        """Return the facts of contents. Raises StoreError if one is not in the store."""
        wanted = sorted(set(oids))
        database = self._open()
        try:
            facts = {} if database is None else _cached(database, wanted)
            unknown = [oid for oid in wanted if oid not in facts]
            fresh = {oid: self._compute(oid) for oid in counted(unknown, "reading files")}
            if database is not None and fresh:
                _save(database, fresh)
        finally:
            if database is not None:
                database.close()
        return facts | fresh

    def _compute(self, oid: Oid) -> ContentFacts:
        size = self._objects.blob_size(oid)
        plain, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        gitoid = hashlib.sha256(b"blob %d\0" % size)
        head = bytearray()
        for chunk in self._objects.stream_blob(oid):
            for digest in (plain, sha1, gitoid):
                digest.update(chunk)
            head += chunk[: SEARCHED - len(head)]
        licenses = "\n".join(license_tags(bytes(head)))
        return ContentFacts(plain.digest(), sha1.digest(), gitoid.digest(), size, licenses)

    def _open(self) -> sqlite3.Connection | None:
        """Return the cache; None if it cannot be used."""
        for _ in range(2):
            try:
                return open_database(self._path, _TABLE)
            except sqlite3.OperationalError:
                return None
            except sqlite3.Error:  # damaged, or of a different version
                with contextlib.suppress(OSError):
                    delete_database(self._path)
            except OSError:
                return None
        return None


def license_tags(data: bytes) -> list[str]:
    """Return the expressions of the SPDX-License-Identifier tags in a file."""
    texts = (match[1].decode("ascii") for match in _TAG.finditer(data))
    # the rest of a line in Markdown, HTML or C is not part of the expression
    expressions = (" ".join(text.split()).removesuffix("--").strip() for text in texts)
    return list(dict.fromkeys(filter(None, expressions)))[:MOST_TAGS]


def _cached(database: sqlite3.Connection, oids: Iterable[Oid]) -> dict[Oid, ContentFacts]:
    facts = {}
    query = "select sha256, sha1, gitoid, size, licenses from contents1 where oid = ?"
    with contextlib.suppress(sqlite3.Error):
        for oid in oids:
            row = database.execute(query, (oid,)).fetchone()
            if row and tuple(map(type, row)) == _TYPES:
                facts[oid] = ContentFacts(*row)
    return facts


def _save(database: sqlite3.Connection, facts: dict[Oid, ContentFacts]) -> None:
    rows = [(oid, *known) for oid, known in facts.items()]
    with contextlib.suppress(sqlite3.Error), database:  # the context manager commits
        database.execute("begin immediate")
        database.executemany("insert or replace into contents1 values (?, ?, ?, ?, ?, ?)", rows)
