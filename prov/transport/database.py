"""Small databases about remotes: files that can be made again at any time, and are, if damaged.

They are in the store, which may come from elsewhere: a file is used only if its tables are those
that prov makes, and nothing in it is run or believed to be of a size or kind that prov does not
write.
"""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

from prov.files import status

MOST = 1 << 20
"""Bytes of one value."""
_OBJECTS = "select type, name, tbl_name, sql from sqlite_master order by type, name limit 100"


class WrongTables(sqlite3.DatabaseError):
    """The file has other tables than prov makes."""


def open_database(
    path: Path, schema: str, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open a database and make its tables, by a script, if it is empty. Raises sqlite3.Error and
    OSError.

    WrongTables for one that has others, or views or triggers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = status(path)
    if state is not None and not stat.S_ISREG(state.st_mode):
        path.unlink()  # sqlite would follow a link, and write another file
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
            raise WrongTables("its tables are not those that prov makes")
    except BaseException:
        database.close()
        raise
    return database


def _make(database: sqlite3.Connection, schema: str) -> None:
    database.execute("begin immediate")  # another process may be at it
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
    """Delete a database, with the files that sqlite keeps beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink(missing_ok=True)
