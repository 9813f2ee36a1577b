"""Answer a query about builds and runs in SQL.

A query can only read: SQLite's authorizer rejects all other statements while it compiles them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from prov.errors import ProvError, StoreError
from prov.query import schema
from prov.query.table_file import DAMAGED, TableFile, code_of, is_unwritable, make_in_memory
from prov.store.repository import Store
from prov.text import nearest

Value = str | int | float | bytes | None
STEPS = 100_000
"""The number of SQLite's instructions after which ^C is noticed."""
_READS = (
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
)
_WRONG = (0, sqlite3.SQLITE_ERROR)
"""The codes of errors in the text of a query."""
_ABSENT = re.compile(r"no such table: (?:main\.)?(\w+)")
_PRAGMAS = ("table_info", "table_xinfo", "table_list", "index_list", "index_info")
_READ_ONLY = (
    "use SELECT; `prov query --path` prints the file's path, to copy it and change the copy"
)
_NO_FILE = "use a store that you can write to, or free disk space"
_HINT = "run `prov query` to list the tables and their columns"


class QueryError(ProvError):
    """SQLite rejects a query."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a query returns."""

    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]
    note: str = ""
    """Why the tables were made in memory; empty if they are in the file."""


def answer(store: Store, sql: str) -> Rows:
    """Return the answer of a query. Raises QueryError, StoreError."""
    names: tuple[str, ...] = ()
    is_new = False
    while True:
        try:
            database, note = _open(store, names)
            with closing(database):
                return Rows(*_run(database, sql), note)
        except (sqlite3.Error, sqlite3.Warning) as error:
            absent = _absent_table(error)
            if absent is not None and absent not in names:
                names = (*names, absent)
            elif code_of(error) in DAMAGED and not is_new:
                TableFile(store).discard()
                is_new = True
            elif code_of(error) == sqlite3.SQLITE_INTERRUPT:
                raise KeyboardInterrupt from error
            else:
                raise _in_words(error) from error


def table_path(store: Store) -> Path:
    """Update the tables; return the path of their file. Raises StoreError."""
    try:
        database, note = _open(store, ())
    except sqlite3.Error as error:
        raise _in_words(error) from error
    database.close()
    if note:
        raise StoreError(f"cannot write the tables: {note}", hint=_NO_FILE)
    return TableFile(store).path


def _open(store: Store, names: Sequence[str]) -> tuple[sqlite3.Connection, str]:
    """Return a connection to up-to-date tables, and why they are in memory."""
    file = TableFile(store)
    try:
        return file.open(names), ""
    except (OSError, sqlite3.Error) as error:
        if not is_unwritable(error):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return make_in_memory(store, names), f"{file.path}: {reason}"


def _run(database: sqlite3.Connection, sql: str) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
    database.set_authorizer(_authorize)
    # Python handles signals in this call, and SQLite then ends the query
    database.set_progress_handler(lambda: 0, STEPS)
    cursor = database.execute(sql)
    if cursor.description is None:
        raise sqlite3.OperationalError("it returns no rows")
    return tuple(column[0] for column in cursor.description), cursor.fetchall()


def _authorize(
    action: int, first: str | None, _second: str | None, _database: str | None, _by: str | None
) -> int:
    """Allow a query to read; called by SQLite for each use of a table or a function."""
    if action in _READS or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _absent_table(error: Exception) -> str | None:
    """Return the table of `schema.LAZY` that a query names and the file does not have yet."""
    match = _ABSENT.search(str(error))
    name = match[1].lower() if match else ""
    name = schema.FILLED_WITH.get(name, name)
    return name if name in schema.LAZY else None


def _in_words(error: Exception) -> QueryError:
    text = str(error)
    # SQLite has no authorizer for VACUUM, and rejects it inside a transaction
    if code_of(error) == sqlite3.SQLITE_AUTH or "VACUUM" in text:
        return QueryError("the query is rejected: queries can only read", hint=_READ_ONLY)
    match = _ABSENT.search(text)
    near = nearest(match[1], schema.columns()) if match else ""
    if code_of(error) in _WRONG:
        return QueryError(f"invalid query: {text}", hint=near or _HINT)
    return QueryError(f"the query failed: {text}", hint=_NO_FILE)
