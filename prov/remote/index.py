"""What a remote has: its publications, in a file that is asked quickly and can be made again at any time.

The remote keeps them as a branch, `prov/index`; each push appends a commit with what it says, signed. Bringing the file
up to date costs what is new. What the policy refuses is kept apart, so that whoever misses a task can be told why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prov.errors import StoreError
from prov.remote.publication import Publication, Published
from prov.store.objects import Oid

FORMAT = "1"
_TABLES = """
create table meta (name text primary key, value text) without rowid;
create table publications (
    number integer primary key, text blob, seconds integer, signer text, problem text);
create table tasks (
    hash blob, number integer, static blob, output blob, record blob, digest blob, key text, size integer, place text,
    workdir blob, workdir_digest blob, used integer, refused integer);
"""
_SEARCHED = {"by_hash": "hash", "by_static": "static", "by_key": "key, number"}
"""By what tasks are looked for."""
_FIELDS = "key, hash, static, output, record, digest, size, place, workdir, workdir_digest"


@dataclass(frozen=True, slots=True)
class Listed:
    """A publication, as the index has it."""

    number: int
    text: Oid
    """The blob of its text."""
    seconds: int
    signer: str
    problem: str
    """Why it is not used; empty if it is."""


class _Connection(sqlite3.Connection):
    """Says in prov's words what is wrong with the file."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        with _told():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        with _told():
            return super().executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        with _told():
            return super().executescript(*arguments)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        what = "what is known of a remote can't be read or written"
        raise StoreError(
            f"{what}: {error}", hint="is the disk full? `prov/remotes` in the store may be deleted"
        ) from error


class Index:
    """One remote's index on this machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path.with_name(f"{path.name}{FORMAT}")
        self._used: list[tuple[int, Oid]] = []
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        for attempt in (1, 2):
            with _told():
                database = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, factory=_Connection)
            try:
                database.execute("pragma journal_mode=wal")
                database.execute("pragma synchronous=normal")
                made = database.execute("select count(*) from sqlite_master where name = 'by_key'").fetchone()[0]
                if not made:
                    indexes = "".join(f"create index {name} on tasks ({of});" for name, of in _SEARCHED.items())
                    database.executescript(f"begin; {_TABLES} {indexes} commit;")
                return database
            except StoreError:
                database.close()
                if attempt == 2:
                    raise
                for path in self.path.parent.glob(f"{self.path.name}*"):
                    path.unlink()
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def changing(self, *, anew: bool = False) -> Iterator[None]:
        """All changes that are made within, or none. Anew: what is there is forgotten first."""
        self._database.execute("begin immediate")
        try:
            if anew:
                self._clear()
            yield
            self._complete() if anew else self._mark_used()
        except BaseException:
            self._used.clear()
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise
        self._database.execute("commit")

    def _clear(self) -> None:
        """Forget everything, and how to look for tasks: what is entered in bulk is sorted once, at the end."""
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
        return row[0] if row else ""

    def put(self, name: str, value: str) -> None:
        self._database.execute("insert or replace into meta values (?, ?)", (name, value))

    def add(self, listed: Listed, publication: Publication | None) -> None:
        """Enter a publication; None for one that makes no sense."""
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
        self._database.executemany("insert into tasks values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        if not refused:
            self._used += [(listed.seconds, oid) for oid in publication.used]

    def _mark_used(self) -> None:
        self._database.executemany("update tasks set used = max(used, ?1) where hash = ?2", self._used)
        self._used.clear()

    def remove(self, gone: Collection[Oid]) -> None:
        """Take out what the remote has no more: records by their trees, WORKDIRs by their commits."""
        if not gone:
            return
        self._database.execute("create temp table if not exists gone (id blob primary key) without rowid")
        self._database.execute("delete from gone")
        self._database.executemany("insert or ignore into gone values (?)", ((oid,) for oid in gone))
        self._database.execute("delete from tasks where record in (select id from gone)")
        self._database.execute(
            "update tasks set workdir = x'', workdir_digest = x'' where workdir in (select id from gone)"
        )

    # asking

    def find(self, task_hash: Oid) -> list[Published]:
        """Return what is published of a task hash, the first first."""
        query = f"select {_FIELDS} from tasks where hash = ? and not refused order by number, rowid"
        return [_published(row) for row in self._database.execute(query, (task_hash,))]

    def find_static(self, static_key: Oid) -> Published | None:
        """Return what was last published of a static key."""
        query = f"select {_FIELDS} from tasks where static = ? and not refused order by number desc, rowid desc limit 1"
        row = self._database.execute(query, (static_key,)).fetchone()
        return _published(row) if row else None

    def missing(self, hashes: Iterable[Oid]) -> set[Oid]:
        """Return those of some task hashes of which nothing is published."""
        query = "select 1 from tasks where hash = ? and not refused limit 1"
        return {oid for oid in hashes if self._database.execute(query, (oid,)).fetchone() is None}

    def problem(self, task_hash: Oid) -> tuple[str, str] | None:
        """Return why what is published of a task hash is not used, and the signer; None if nothing is refused."""
        query = "select problem, signer from tasks join publications using (number) where hash = ? and refused limit 1"
        row = self._database.execute(query, (task_hash,)).fetchone()
        return (row[0], row[1]) if row else None

    def signer(self, record: Oid) -> str:
        """Return the fingerprint of the key that a record was published with, empty if it was not signed."""
        query = "select signer from tasks join publications using (number) where record = ? order by number limit 1"
        row = self._database.execute(query, (record,)).fetchone()
        return row[0] if row else ""

    def newest(self, recipe: str, limit: int) -> list[Published]:
        """Return what was published last of a recipe's tasks."""
        query = f"select {_FIELDS} from tasks where key >= ? and key < ? and not refused order by number desc limit ?"
        return [_published(row) for row in self._database.execute(query, (f"{recipe}:", f"{recipe};", limit))]

    def used(self, hashes: Iterable[Oid]) -> dict[Oid, int]:
        """Return when each of some task hashes was last published or taken up, in seconds since the epoch."""
        query = "select max(used) from tasks where hash = ?"
        found = ((oid, self._database.execute(query, (oid,)).fetchone()[0]) for oid in hashes)
        return {oid: used for oid, used in found if used is not None}

    def tasks(self, *, refused: bool = False) -> Iterator[tuple[Published, int, int]]:
        """Yield everything: what, in which publication, and when it was used last."""
        query = f"select {_FIELDS}, number, used from tasks where refused <= ? order by number, rowid"
        for row in self._database.execute(query, (int(refused),)):
            yield _published(row[:-2]), row[-2], row[-1]

    def differing(self) -> Iterator[list[Published]]:
        """Yield the tasks that are published with more than one output, each with all of them, the first first."""
        query = "select hash from tasks where not refused group by hash having count(distinct output) > 1"
        for row in self._database.execute(query).fetchall():
            yield self.find(row[0])

    def publications(self) -> list[Listed]:
        query = "select number, text, seconds, signer, problem from publications order by number"
        return [Listed(*row) for row in self._database.execute(query)]

    def last(self) -> int:
        """Return the number of the last publication, 0 if there is none."""
        return int(self._database.execute("select coalesce(max(number), 0) from publications").fetchone()[0])

    def count(self) -> int:
        """Return of how many tasks the results may be used."""
        return int(self._database.execute("select count(*) from tasks where not refused").fetchone()[0])


def _published(row: tuple[object, ...]) -> Published:
    return Published(*row)  # type: ignore[arg-type]
