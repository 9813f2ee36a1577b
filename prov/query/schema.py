"""The tables of the file: docs/query.md describes their columns.

Integers in `build`, `run`, `list`, `path_id` and `set_id` join tables of one file; they differ in
the next file. Ids of objects are 40 hex digits. `inputs` and `edges` are views, since most task
hashes share most of their inputs: a set is a folder of an inputs tree, stored once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from prov.store.objects import Oid

FORMAT = 1
"""Change it with the tables: a file of another format is made again."""

TABLES = """
create table builds (
    build integer primary key, id text not null unique, began integer, seconds real, result text,
    targets text, host text, builder text, ran integer, restored integer, fetched integer,
    skipped integer, stale integer, failed integer, added integer, pinned integer not null,
    problem text);
create table labels (label text primary key, build integer not null) without rowid;
create table outcomes (
    build integer not null, task text not null, recipe text not null, outcome text not null,
    task_hash text, number integer, began real, seconds real, added integer, reason text,
    primary key (build, task)) without rowid;
create table runs (
    run integer primary key, tag text not null unique, recipe text not null, task text not null,
    task_hash text not null, number integer not null, failed integer not null, ended integer,
    began real, seconds real, result text, host text, output text, workdir_commit text,
    record_commit text, reads_id text, problem text);
create table outputs (
    output text primary key, content text, attributes text, relocatable integer,
    postprocess integer) without rowid;
"""
INDEXES = """
create index outcomes_of_task on outcomes (task);
create index runs_of_task on runs (task);
create index runs_of_hash on runs (task_hash);
create index runs_of_output on runs (output);
"""
LAZY = {
    "inputs": """
create table sets (set_id integer primary key, key text not null unique);
create table task_sets (
    task_hash text not null, set_id integer not null,
    primary key (task_hash, set_id)) without rowid;
create table input_rows (
    set_id integer not null, kind text not null, name text not null, id text not null, value text,
    primary key (set_id, kind, name)) without rowid;
create table edge_rows (
    set_id integer not null, kind text not null, needed text not null, id text not null,
    primary key (set_id, kind, needed)) without rowid;
create view inputs as
    select task_hash, kind, name, id, value from task_sets join input_rows using (set_id);
create view edges as
    select task_hash, kind, needed, id from task_sets join edge_rows using (set_id);
""",
    "files": """
create table files (
    tree text not null, name text not null, kind text not null, mode integer not null,
    id text not null, bytes integer, primary key (tree, name)) without rowid;
""",
    "reads": """
create table read_lists (
    list integer primary key, id text not null unique, opens text, probes text, toolchain text);
create table read_paths (path_id integer primary key, path text not null unique);
create table read_rows (
    list integer not null, path_id integer not null, kinds text not null, state text not null,
    programs text not null, primary key (list, path_id)) without rowid;
create view reads as
    select run, path, kinds, state, programs from runs join read_lists on read_lists.id = reads_id
    join read_rows using (list) join read_paths using (path_id);
""",
}
"""Table -> the script that creates it and its parts. The first query that names one fills it."""
LAZY_INDEXES = {
    "inputs": """
create index hashes_of_set on task_sets (set_id);
create index inputs_by_name on input_rows (name);
create index inputs_by_id on input_rows (id);
create index edges_by_task on edge_rows (needed);
create index edges_by_id on edge_rows (id);
""",
    "files": """
create index files_by_name on files (name);
create index files_by_id on files (id);
""",
    "reads": "create index reads_of_path on read_rows (path_id)",
}
"""Table of `LAZY` -> the script that creates its indexes, once it is filled."""
FILLED_WITH = {"edges": "inputs", "read_lists": "reads"}
"""Other tables and views in these scripts."""
MANY = 2_000
"""The number of ids from which reading a column is faster than looking up each."""
OWN = ("sets", "task_sets", "input_rows", "edge_rows", "read_paths", "read_rows")
"""Tables that are parts of views."""


def run_script(database: sqlite3.Connection, script: str) -> None:
    """Run the statements of a script, inside the connection's transaction."""
    for statement in filter(str.strip, script.split(";")):
        database.execute(statement)


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Return whether a table or a view exists."""
    query = "select 1 from sqlite_master where name = ?"
    return database.execute(query, (name,)).fetchone() is not None


def absent(
    database: sqlite3.Connection, table: str, column: str, oids: Collection[Oid]
) -> list[Oid]:
    """Return the ids that a column of hex digits lacks, sorted."""
    if len(oids) > MANY:
        rows = database.execute(f"select distinct {column} from {table}")
        present = {bytes.fromhex(row[0]) for row in rows}
        return sorted(oid for oid in oids if oid not in present)
    query = f"select 1 from {table} where {column} = ? limit 1"
    return [oid for oid in sorted(oids) if not database.execute(query, (oid.hex(),)).fetchone()]


def columns() -> dict[str, list[str]]:
    """Return each table for queries with its columns."""
    model = sqlite3.connect(":memory:")
    try:
        run_script(model, TABLES)
        for script in LAZY.values():
            run_script(model, script)
        names = [
            row[0] for row in model.execute("select name from sqlite_master where type != 'index'")
        ]
        tables = [name for name in names if name not in OWN]
        return {
            name: [row[1] for row in model.execute(f"pragma table_info({name})")]
            for name in sorted(tables)
        }
    finally:
        model.close()
