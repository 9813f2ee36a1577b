"""The index of a remote: its publications, in a database that prov can rebuild at any time.

The remote stores them in a branch, `prov/index`; each push appends a commit with its signed
publication. An update reads only new commits. Rejected publications are stored with the reason, so
that a build can report why it does not use them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prov.errors import StoreError
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.publication import Publication, Published
from prov.store.objects import Oid
from prov.transport.database import delete_database, open_database

FORMAT = "1"
_TABLES = """
create table meta (name text primary key, value text) without rowid;
create table publications (
    number integer primary key, text blob, seconds integer, signer text, problem text);
create table tasks (
    hash blob, number integer, static blob, output blob, record blob, digest blob, key text,
    size integer, place text, workdir blob, workdir_digest blob, used integer, refused integer);
"""
_SEARCHED = {"by_hash": "hash", "by_static": "static", "by_key": "key, number"}
"""Database index -> indexed columns of `tasks`."""
_FIELDS = "key, hash, static, output, record, digest, size, place, workdir, workdir_digest"


@dataclass(frozen=True, slots=True)
class Listed:
    """A publication's row in the index."""

    number: int
    text: Oid
    """Blob of its text."""
    seconds: int
    signer: str
    problem: str
    """Why it is rejected; empty if it is used."""


class Damaged(StoreError):
    """The database contains values that prov did not write and must be rebuilt."""


class _Cursor(sqlite3.Cursor):
    """Raises StoreError instead of sqlite3.Error; damage can appear at any row."""

    def execute(self, *arguments: Any) -> _Cursor:
        with _reported():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> _Cursor:
        with _reported():
            return super().executemany(*arguments)

    def fetchone(self) -> Any:
        with _reported():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _reported():
            return super().fetchall()

    def __next__(self) -> Any:
        try:  # a context manager is too slow for a million rows
            return super().__next__()
        except sqlite3.Error as error:
            raise _in_words(error) from error


class _Connection(sqlite3.Connection):
    """Uses `_Cursor`, also where sqlite3 would create its own cursor."""

    def execute(self, *arguments: Any) -> _Cursor:
        return self.cursor(_Cursor).execute(*arguments)

    def executemany(self, *arguments: Any) -> _Cursor:
        return self.cursor(_Cursor).executemany(*arguments)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _in_words(error) from error


def _in_words(error: sqlite3.Error) -> StoreError:
    message = f"cannot read or write the index of a remote: {error}"
    # OperationalError: a full disk, or another process's lock. Python also raises it for text that
    # it cannot decode, which is damage.
    if isinstance(error, sqlite3.OperationalError) and "decode" not in str(error):
        return StoreError(
            message, hint="free disk space, or delete `prov/remotes` in the store to rebuild it"
        )
    return Damaged(message, hint="delete `prov/remotes` in the store to rebuild it")


class Index:
    """One remote's index on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}{FORMAT}")
        self._used: list[tuple[int, Oid]] = []
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._try_to_open()
        except Damaged:
            delete_database(self.path)
            return self._try_to_open()

    def _try_to_open(self) -> sqlite3.Connection:
        indexes = "".join(f"create index {name} on tasks ({of});" for name, of in _SEARCHED.items())
        try:
            return open_database(self.path, f"{_TABLES}{indexes}", _Connection)
        except sqlite3.Error as error:
            raise _in_words(error) from error

    def reset(self) -> None:
        """Delete a damaged database and create an empty one."""
        self.close()
        delete_database(self.path)
        self._database = self._open()

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def changing(self, *, clear: bool = False) -> Iterator[None]:
        """Run the body as one transaction; `clear` deletes all rows first."""
        self._database.execute("begin immediate")
        try:
            if clear:
                self._clear()
            yield
            self._complete() if clear else self._mark_used()
        except BaseException:
            self._used.clear()
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise
        self._database.execute("commit")

    def _clear(self) -> None:
        """Delete all rows and indexes; `_complete` creates the indexes after the bulk insertion."""
        for name in _SEARCHED:
            self._database.execute(f"drop index {name}")
        for table in ("meta", "publications", "tasks"):
            self._database.execute(f"delete from {table}")

    def _complete(self) -> None:
        for name, of in _SEARCHED.items():
            self._database.execute(f"create index {name} on tasks ({of})")
        self._mark_used()

    def get(self, name: str) -> str:
        row = self._database.execute("select value from meta where name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def number(self, name: str) -> int:
        """Return a number stored by `put`, or 0."""
        text = self.get(name) or "0"
        if not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
            raise Damaged(f"the index of a remote is damaged: invalid {name} {text[:40]!r}")
        return int(text)

    def oid(self, name: str) -> Oid | None:
        """Return an id stored by `put` in hex, or None."""
        text = self.get(name)
        if not re.fullmatch("([0-9a-f]{40})?", text, re.ASCII):
            raise Damaged(f"the index of a remote is damaged: invalid {name} {text[:40]!r}")
        return bytes.fromhex(text) or None

    def put(self, name: str, value: str) -> None:
        self._database.execute("insert or replace into meta values (?, ?)", (name, value))

    def add(self, listed: Listed, publication: Publication | None) -> None:
        """Add a publication; `publication` is None if it cannot be decoded."""
        row = (listed.number, listed.text, listed.seconds, listed.signer, listed.problem)
        self._database.execute("insert or replace into publications values (?, ?, ?, ?, ?)", row)
        if publication is None:
            return
        refused = int(bool(listed.problem))
        rows = (
            (
                task.task_hash,
                listed.number,
                task.static_key,
                task.output,
                task.record,
                task.digest,
                task.key,
                task.size,
                task.place,
                task.workdir,
                task.workdir_digest,
                listed.seconds,
                refused,
            )
            for task in publication.tasks
        )
        self._database.executemany(
            "insert into tasks values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
        )
        if not refused:
            self._used += [(listed.seconds, oid) for oid in publication.used]

    def _mark_used(self) -> None:
        self._database.executemany(
            "update tasks set used = max(used, ?1) where hash = ?2", self._used
        )
        self._used.clear()

    def remove(self, deleted: Collection[Oid]) -> None:
        """Remove content deleted at the remote: trees of records, commits of WORKDIRs."""
        if not deleted:
            return
        self._database.execute(
            "create temp table if not exists gone (id blob primary key) without rowid"
        )
        self._database.execute("delete from gone")
        self._database.executemany(
            "insert or ignore into gone values (?)", ((oid,) for oid in deleted)
        )
        self._database.execute("delete from tasks where record in (select id from gone)")
        self._database.execute(
            "update tasks set workdir = x'', workdir_digest = x'' where workdir in (select id from"
            " gone)"
        )

    # queries

    def find(self, task_hash: TaskHash) -> list[Published]:
        """Return the usable results of a task hash, oldest first."""
        query = f"select {_FIELDS} from tasks where hash = ? and not refused order by number, rowid"
        return [_published(row) for row in self._database.execute(query, (task_hash,))]

    def find_static(self, static_key: StaticKey) -> Published | None:
        """Return the last usable result of a static key."""
        query = (
            f"select {_FIELDS} from tasks where static = ? and not refused order by number desc,"
            " rowid desc limit 1"
        )
        row = self._database.execute(query, (static_key,)).fetchone()
        return _published(row) if row else None

    def missing(self, hashes: Iterable[Oid]) -> set[Oid]:
        """Return the given task hashes that have no usable result."""
        query = "select 1 from tasks where hash = ? and not refused limit 1"
        return {oid for oid in hashes if self._database.execute(query, (oid,)).fetchone() is None}

    def problem(self, task_hash: TaskHash) -> tuple[str, str] | None:
        """Return why a result of a task hash is rejected, and its signer; None if none is."""
        query = (
            "select problem, signer from tasks join publications using (number) where hash = ? and"
            " refused limit 1"
        )
        row = self._database.execute(query, (task_hash,)).fetchone()
        return (row[0], row[1]) if row else None

    def signer(self, record: Oid) -> str:
        """Return the fingerprint of the key that signed a record, or "" for an unsigned one."""
        query = (
            "select signer from tasks join publications using (number) where record = ? order by"
            " number limit 1"
        )
        row = self._database.execute(query, (record,)).fetchone()
        return row[0] if row else ""

    def newest(self, recipe: str, limit: int) -> list[Published]:
        """Return the last `limit` usable results of a recipe's tasks, newest first."""
        query = (
            f"select {_FIELDS} from tasks where key >= ? and key < ? and not refused order by"
            " number desc limit ?"
        )
        return [
            _published(row)
            for row in self._database.execute(query, (f"{recipe}:", f"{recipe};", limit))
        ]

    def used(self, hashes: Iterable[Oid]) -> dict[Oid, int]:
        """Map task hashes to the time of their last publication or use, in epoch seconds."""
        query = "select max(used) from tasks where hash = ?"
        rows = ((oid, self._database.execute(query, (oid,)).fetchone()[0]) for oid in hashes)
        return {oid: seconds for oid, seconds in rows if seconds is not None}

    def tasks(self, *, refused: bool = False) -> Iterator[tuple[Published, int, int]]:
        """Yield all results, each with the number of its publication and the time of its last use.

        `refused` includes results of rejected publications.
        """
        query = (
            f"select {_FIELDS}, number, used from tasks where refused <= ? order by number, rowid"
        )
        for row in self._database.execute(query, (int(refused),)):
            yield _published(row[:-2]), row[-2], row[-1]

    def differing(self) -> Iterator[list[Published]]:
        """Yield the results of each task hash with more than one output, oldest first."""
        query = (
            "select hash from tasks where not refused group by hash having count(distinct"
            " output) > 1"
        )
        for row in self._database.execute(query).fetchall():
            yield self.find(row[0])

    def publications(self) -> list[Listed]:
        query = "select number, text, seconds, signer, problem from publications order by number"
        return [_listed(row) for row in self._database.execute(query)]

    def last(self) -> int:
        """Return the number of the last publication, or 0."""
        query = "select coalesce(max(number), 0) from publications"
        return int(self._database.execute(query).fetchone()[0])

    def numbers(self) -> set[int]:
        """Return the numbers of all publications."""
        return {row[0] for row in self._database.execute("select number from publications")}

    def ids(self, after: int) -> Iterator[tuple[int, TaskHash, StaticKey, Oid]]:
        """Yield results of publications after a number: number, task hash, static key, WORKDIR."""
        query = "select number, hash, static, workdir from tasks where number > ? order by number"
        yield from self._database.execute(query, (after,))

    def count(self) -> int:
        """Return the number of usable results."""
        return int(
            self._database.execute("select count(*) from tasks where not refused").fetchone()[0]
        )


_TYPES = (str, bytes, bytes, bytes, bytes, bytes, int, str, bytes, bytes)


def _published(row: tuple[object, ...]) -> Published:
    if tuple(map(type, row)) != _TYPES:
        raise Damaged("the index of a remote is damaged: invalid types in a row of tasks")
    key, *fields = row
    return Published(TaskKey(key), *fields)  # type: ignore[arg-type]


def _listed(row: tuple[object, ...]) -> Listed:
    if tuple(map(type, row)) != (int, bytes, int, str, str):
        raise Damaged("the index of a remote is damaged: invalid types in a row of publications")
    return Listed(*row)  # type: ignore[arg-type]
