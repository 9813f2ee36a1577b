"""Compute the ids of objects in git's SHA-256 object format.

Signatures must not depend on SHA-1. Git's SHA-256 format defines the ids: the content of an object
is the same, with each id in it replaced by its SHA-256 id. Computed digests are cached by SHA-1 id.
This is safe because only digests of stored objects are cached, and an object in the store is never
replaced by a fetched one with the same id.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, Commit, Entry, Kind, Oid
from prov.transport.database import delete_database, open_database

FORMAT = 2
_TABLE = (
    f"create table digests{FORMAT} (oid blob primary key, id blob, paths integer, size integer,"
    " depth integer, length integer, kind text) without rowid"
)
_TYPES = (bytes, int, int, int, int, str)


class Digest(NamedTuple):
    """An object's SHA-256 id, and the size of a tree on disk."""

    id: bytes
    paths: int = 1
    """Number of entries in and below it; an object that occurs n times counts n times."""
    size: int = 0
    """Bytes of the files in and below it, counted in the same way."""
    depth: int = 0
    """Number of nested folders; 0 for a file."""
    length: int = 0
    """Bytes of the longest path below it."""
    kind: Kind = "blob"


class Reader(Protocol):
    """The methods of a store that reading objects requires."""

    def blob(self, oid: Oid) -> bytes: ...

    def tree(self, oid: Oid) -> list[Entry]: ...

    def commit(self, oid: Oid) -> Commit: ...

    def stream_blob(self, oid: Oid) -> Iterator[bytes]: ...

    def blob_size(self, oid: Oid) -> int: ...


def object_digest(kind: Kind, data: bytes) -> bytes:
    """Return the id of an object in git's SHA-256 format."""
    return hashlib.sha256(b"%s %d\0%s" % (kind.encode(), len(data), data)).digest()


def tree_digest(entries: list[Entry], digests: list[Digest]) -> Digest:
    """Return a tree's digest; `digests` are those of its entries, in git's order."""
    pairs = list(zip(entries, digests, strict=True))
    data = b"".join(b"%o %s\0%s" % (entry.mode, entry.name, digest.id) for entry, digest in pairs)
    return Digest(
        object_digest("tree", data),
        paths=1 + sum(digest.paths for digest in digests),
        size=sum(digest.size for digest in digests),
        depth=1 + max((digest.depth for digest in digests), default=0),
        length=max((len(entry.name) + 1 + digest.length for entry, digest in pairs), default=0),
        kind="tree",
    )


def commit_digest(content: bytes, tree: bytes, parents: list[bytes]) -> bytes:
    """Return a commit's SHA-256 id, from its content and the ids of its tree and parents."""
    head, _, message = content.partition(b"\n\n")
    lines, remaining = [], iter(parents)
    for line in head.split(b"\n"):
        if line.startswith(b"tree "):
            line = b"tree " + tree.hex().encode()
        elif line.startswith(b"parent "):
            line = b"parent " + next(remaining).hex().encode()
        lines.append(line)
    return object_digest("commit", b"\n".join(lines) + b"\n\n" + message)


class Digests:
    """Digests of a store's objects, cached in a file that may be deleted at any time."""

    def __init__(self, reader: Reader, memory: Path) -> None:
        self._reader = reader
        self._path = memory
        self._cached: dict[Oid, Digest] = {
            EMPTY_TREE: Digest(object_digest("tree", b""), kind="tree")
        }
        self._new: dict[Oid, Digest] = {}
        self._database: sqlite3.Connection | None = None

    def _connect(self) -> sqlite3.Connection | None:
        if self._database is None:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._database = self._open()
        return self._database

    def _open(self) -> sqlite3.Connection:
        try:
            return open_database(self._path, _TABLE)
        except sqlite3.OperationalError:
            raise
        except sqlite3.Error:  # the file is damaged
            delete_database(self._path)
            return open_database(self._path, _TABLE)

    def known(self, oid: Oid) -> Digest | None:
        """Return the cached digest of an object, or None."""
        if oid not in self._cached:
            digest = self._read(oid)
            if digest is None:
                return None
            self._cached[oid] = digest
        return self._cached[oid]

    def _read(self, oid: Oid) -> Digest | None:
        """Return the digest of an object in the file, or None."""
        database = self._connect()
        if database is None:
            return None
        query = f"select id, paths, size, depth, length, kind from digests{FORMAT} where oid = ?"
        with contextlib.suppress(sqlite3.Error):
            row = database.execute(query, (oid,)).fetchone()
            if row and tuple(map(type, row)) == _TYPES:
                return Digest(*row)
        return None

    def learn(self, oid: Oid, digest: Digest) -> None:
        """Cache a digest in memory; call `save` once the object is in the store."""
        self._cached[oid] = self._new[oid] = digest

    def save(self) -> None:
        """Write new digests to the file."""
        database = self._connect() if self._new else None
        if database is not None:
            rows = [(oid, *digest) for oid, digest in self._new.items()]
            with contextlib.suppress(sqlite3.Error), database:  # the context manager commits
                database.execute("begin immediate")
                database.executemany(
                    f"insert or replace into digests{FORMAT} values (?, ?, ?, ?, ?, ?, ?)", rows
                )
        self._new = {}

    def blob(self, oid: Oid) -> Digest:
        """Return a blob's digest; read it in chunks."""
        digest = self.known(oid)
        if digest is None:
            size = self._reader.blob_size(oid)
            hasher = hashlib.sha256(b"blob %d\0" % size)
            for chunk in self._reader.stream_blob(oid):
                hasher.update(chunk)
            digest = Digest(hasher.digest(), 1, size)
            self.learn(oid, digest)
        return digest

    def tree(self, oid: Oid) -> Digest:
        """Return a tree's digest."""
        digest = self.known(oid)
        if digest is None:
            entries = self._reader.tree(oid)
            digests = [
                self.tree(entry.oid) if entry.mode == MODE_DIRECTORY else self.blob(entry.oid)
                for entry in entries
            ]
            digest = tree_digest(entries, digests)
            self.learn(oid, digest)
        return digest

    def commit(self, oid: Oid) -> Digest:
        """Return a commit's digest, after those of its ancestors."""
        pending = [oid]
        while pending:
            last = pending[-1]
            if self.known(last) is not None:
                pending.pop()
                continue
            commit = self._reader.commit(last)
            missing = [parent for parent in commit.parents if self.known(parent) is None]
            if missing:
                pending += missing
                continue
            tree = self.tree(commit.tree)
            parents = [self.known(parent) or Digest(b"") for parent in commit.parents]
            content = commit.encode()
            digest = commit_digest(content, tree.id, [parent.id for parent in parents])
            self.learn(last, tree._replace(id=digest, kind="commit"))
            pending.pop()
        return self.known(oid) or Digest(b"")
