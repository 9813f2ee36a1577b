"""Ids in git's SHA-256 object format, of objects whose ids here are SHA-1.

What is signed must not rest on SHA-1. Git's own second format says how: the same objects, each id
in them replaced by the SHA-256 one. What was computed is remembered by SHA-1 id, of objects that
are in the store: what comes from elsewhere under an id that is here already is never taken.
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
    """An object's second id, and how large a tree is when it is put on disk."""

    id: bytes
    paths: int = 1
    """Entries in it and below, each counted as often as it would be placed."""
    size: int = 0
    """Bytes of the files in it and below, counted likewise."""
    depth: int = 0
    """Folders below one another; 0 for a file."""
    length: int = 0
    """Bytes of the longest path below."""
    kind: Kind = "blob"


class Reader(Protocol):
    """What reading objects needs of a store."""

    def blob(self, oid: Oid) -> bytes: ...

    def tree(self, oid: Oid) -> list[Entry]: ...

    def commit(self, oid: Oid) -> Commit: ...

    def stream_blob(self, oid: Oid) -> Iterator[bytes]: ...

    def blob_size(self, oid: Oid) -> int: ...


def object_digest(kind: Kind, data: bytes) -> bytes:
    """Return the id that git's SHA-256 format gives to an object with this content."""
    return hashlib.sha256(b"%s %d\0%s" % (kind.encode(), len(data), data)).digest()


def tree_digest(entries: list[Entry], digests: list[Digest]) -> Digest:
    """Return a tree's, from those of its entries, which are in git's order."""
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
    """Return a commit's, from its content and the digests of what it names."""
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
    """Digests of a store's objects, remembered in a file that may be deleted at any time."""

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
        except sqlite3.Error:  # it is not as prov makes it
            delete_database(self._path)
            return open_database(self._path, _TABLE)

    def known(self, oid: Oid) -> Digest | None:
        """Return what is remembered of an object."""
        if oid not in self._cached:
            digest = self._read(oid)
            if digest is None:
                return None
            self._cached[oid] = digest
        return self._cached[oid]

    def _read(self, oid: Oid) -> Digest | None:
        """Return what the file has of an object."""
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
        """Take up an object's; `save` keeps it, once the object is in the store."""
        self._cached[oid] = self._new[oid] = digest

    def save(self) -> None:
        """Remember what was learnt."""
        database = self._connect() if self._new else None
        if database is not None:
            rows = [(oid, *digest) for oid, digest in self._new.items()]
            with contextlib.suppress(sqlite3.Error), database:  # which commits
                database.execute("begin immediate")
                database.executemany(
                    f"insert or replace into digests{FORMAT} values (?, ?, ?, ?, ?, ?, ?)", rows
                )
        self._new = {}

    def blob(self, oid: Oid) -> Digest:
        """Return a blob's, read chunk by chunk."""
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
        """Return a tree's."""
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
        """Return a commit's, and those of all that it descends from."""
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
