"""Generated stores with tables, and the content of tables for comparison."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from prov.query import schema
from prov.query.answer import Value, answer
from prov.query.table_file import TableFile, make_in_memory
from prov.store.repository import Store

LOCAL = ("build", "run", "list", "path_id", "set_id")
"""Columns that are the same in two files only by chance."""
ALL_TABLES = "select 1 from edges, files, reads where 0"
"""A query that creates all tables."""
_BUILDS = "select id, label from labels join builds using (build) order by id, label"


def value(store: Store, sql: str) -> Value:
    """Return the value in the first row of an answer."""
    return answer(store, sql).rows[0][0]


def content(database: sqlite3.Connection) -> dict[str, list[tuple[Value, ...]]]:
    """Return the rows of all tables that exist, without the columns of `LOCAL`, sorted."""
    rows = {}
    for name, columns in schema.columns().items():
        if schema.has_table(database, name):
            own = [column for column in columns if column not in LOCAL]
            query = f"select {', '.join(own)} from {name}"
            rows[name] = sorted(database.execute(query).fetchall(), key=repr)
    rows["labelled"] = database.execute(_BUILDS).fetchall()
    builds = "select builds.id, task from outcomes join builds using (build) order by 1, 2"
    rows["outcomes of builds"] = database.execute(builds).fetchall()
    return rows


def kept(store: Store) -> dict[str, list[tuple[Value, ...]]]:
    """Return the content of the updated file."""
    with closing(TableFile(store).open()) as database:
        return content(database)


def fresh(store: Store) -> dict[str, list[tuple[Value, ...]]]:
    """Return the content of tables made from nothing."""
    with closing(make_in_memory(store, schema.LAZY)) as database:
        return content(database)
