"""Open the small databases about remotes. They are caches: a damaged file is rebuilt.

They are untrusted, since a store can be a copy from another machine. A file is used only if its
schema is the expected one; its views and triggers never run, and values over MOST bytes are
rejected.
"""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

from prov.files import status

MOST = 1 << 20
"""Maximum bytes of one value."""
_OBJECTS = "select type, name, tbl_name, sql from sqlite_master order by type, name limit 100"


class WrongTables(sqlite3.DatabaseError):
    """The schema of the file is not the expected one."""


def open_database(
    path: Path, schema: str, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open a database; if it is empty, create its tables with the script `schema`.

    Raises WrongTables if it has other tables, or views or triggers; sqlite3.Error and OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = status(path)
    if state is not None and not stat.S_ISREG(state.st_mode):
        path.unlink()  # sqlite would follow a symlink and write to its target
    database = sqlite3.connect(path, timeout=30.0, isolation_level=None, factory=factory)
    try:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST)
        database.execute("pragma trusted_schema=off")
        database.execute("pragma cell_size_check=on")
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=normal")
        if not database.execute(_OBJECTS).fetchall():
            _make(database, schema)
        if database.execute(_OBJECTS).fetchall() != _expected(schema):
            raise WrongTables("unexpected tables")
    except BaseException:
        database.close()
        raise
    return database


def _make(database: sqlite3.Connection, schema: str) -> None:
    database.execute("begin immediate")  # another process may be creating the tables
    try:
        if not database.execute(_OBJECTS).fetchall():
            for statement in filter(str.strip, schema.split(";")):
                database.execute(statement)
        database.execute("commit")
    except BaseException:
        if database.in_transaction:
            database.execute("rollback")
        raise


def _expected(schema: str) -> list[tuple[object, ...]]:
    model = sqlite3.connect(":memory:")
    try:
        model.executescript(schema)
        return model.execute(_OBJECTS).fetchall()
    finally:
        model.close()


def delete_database(path: Path) -> None:
    """Delete a database and its WAL and shared memory files."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink(missing_ok=True)
