"""The file with the tables: `tables.sqlite` in the store's cache. It may be deleted at any time.

Only prov writes the file, and then seals it: the state of the file is stored in a cache that only
the same user can write. A file that is damaged, half-written, changed, copied from another place,
or of another format, does not match its seal. It is deleted and made again, under a temporary name.

One process at a time, with the lock, changes the file; SQLite lets others read meanwhile. If the
file cannot be written, as in a read-only store or on a full disk, the tables are made in memory.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from prov.files import locked, read_cache, status, temporary_name, write_cache
from prov.query.refresh import refresh
from prov.query.schema import FORMAT, INDEXES, TABLES, run_script
from prov.store.repository import Store

FILE, SEAL, LOCK = "tables.sqlite", "tables.seal", "locks/tables"
"""Names in the store's cache."""
PATIENCE = 10.0
"""Seconds to wait for a process that reads the file before the tables are made in memory."""
CACHE = 200_000
"""SQLite's cache in KiB for changes: rows arrive in the order of no index."""
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)
_SQLITE_UNWRITABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CODE = 0xFF
"""The bits of an error's code without those of its extended code."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """The file of one store."""

    store: Store

    @property
    def path(self) -> Path:
        return self.store.cache / FILE

    @property
    def _seal(self) -> Path:
        return self.store.cache / SEAL

    def open(self, names: Iterable[str] = ()) -> sqlite3.Connection:
        """Update the file; return a connection that reads it, with an open transaction.

        `names` are tables of `schema.LAZY` to create. Raises OSError and sqlite3.Error.
        """
        with locked(self.store.cache / LOCK):
            try:
                self._update(names)
            except sqlite3.Error as error:
                if code_of(error) not in DAMAGED:
                    raise
                self._make(names)
            return self._reader()

    def _reader(self) -> sqlite3.Connection:
        name = f"file:{quote(str(self.path))}?mode=ro"
        database = sqlite3.connect(name, uri=True, isolation_level=None)
        try:
            # the transaction begins with a read: no other process can change the tables from now on
            database.execute("begin")
            database.execute("select count(*) from labels").fetchone()
        except BaseException:
            database.close()
            raise
        return database

    def discard(self) -> None:
        """Delete a damaged file."""
        with locked(self.store.cache / LOCK):
            self._delete()

    def _delete(self) -> None:
        """Delete the file and its seal."""
        for path in (self._seal, self.path, self.path.with_name(f"{FILE}-journal")):
            path.unlink(missing_ok=True)

    def _update(self, names: Iterable[str]) -> None:
        if not self._is_intact():
            self._make(names)
        else:
            database = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            try:
                database.execute(f"pragma cache_size={-CACHE}")
                database.execute("begin immediate")
                before = _changes(database)
                refresh(self.store, database, names)
                is_changed = _changes(database) != before
                database.execute("commit" if is_changed else "rollback")
            finally:
                database.close()
            if not is_changed:
                return
        write_cache(self._seal, self._state())

    def _make(self, names: Iterable[str]) -> None:
        self._delete()
        temporary = self.path.with_name(temporary_name(FILE))
        temporary.unlink(missing_ok=True)
        try:
            database = sqlite3.connect(temporary, isolation_level=None)
            try:
                database.execute("pragma journal_mode=off")
                database.execute("pragma synchronous=off")
                database.execute(f"pragma cache_size={-CACHE}")
                make(self.store, database, names)
            finally:
                database.close()
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _is_intact(self) -> bool:
        """Return whether the file is as prov left it."""
        state = self._state()
        return state is not None and read_cache(self._seal) == state

    def _state(self) -> tuple[int, ...] | None:
        state = status(self.path)
        if state is None or self.path.with_name(f"{FILE}-journal").exists():
            return None
        return FORMAT, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _changes(database: sqlite3.Connection) -> tuple[int, int]:
    """Return numbers that grow with each change of rows and of tables."""
    version = database.execute("pragma schema_version").fetchone()[0]
    return database.total_changes, version


def make(store: Store, database: sqlite3.Connection, names: Iterable[str]) -> None:
    """Create and fill all tables in an empty database."""
    database.execute("begin")
    run_script(database, TABLES)
    refresh(store, database, names)
    run_script(database, INDEXES)
    database.execute("commit")


def make_in_memory(store: Store, names: Iterable[str] = ()) -> sqlite3.Connection:
    """Return a connection to tables that end with it."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        make(store, database, names)
    except BaseException:
        database.close()
        raise
    return database


def is_unwritable(error: Exception) -> bool:
    """Return whether an error means that the file cannot be written, or not now."""
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    return code_of(error) in _SQLITE_UNWRITABLE


def code_of(error: Exception) -> int:
    """Return SQLite's code of an error, without its extended part; 0 if it has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & _CODE
