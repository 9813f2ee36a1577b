"""Fill the tables that do not exist before a query names them.

Then every refresh keeps them complete: the inputs of each task hash, each tree of outputs and each
list of reads are read once. `runs` adds the inputs of new runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from prov.errors import StoreError
from prov.progress import report
from prov.query.inputs import add_inputs
from prov.query.schema import LAZY, LAZY_INDEXES, has_table, run_script
from prov.reads.reads import decode_reads
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_SYMLINK,
    Entry,
    Oid,
    decode_tree,
    unescape_name,
)
from prov.store.repository import Store

CHUNK = 20_000
"""The number of trees, or a hundred times the number of lists, that are in memory at a time."""
_KINDS = {MODE_DIRECTORY: "folder", MODE_SYMLINK: "symlink"}
_ABSENT_TREES = """
select content from outputs where content is not null and content not in (select tree from files)
"""
_UNUSED_TREES = """
with recursive used (tree) as (
    select content from outputs where content is not null
    union
    select id from used join files using (tree) where kind = 'folder')
delete from files where tree not in (select tree from used)
"""
_UNUSED_INPUTS = """
delete from task_sets where task_hash not in (select task_hash from runs);
delete from sets where set_id not in (select set_id from task_sets);
delete from input_rows where set_id not in (select set_id from sets);
delete from edge_rows where set_id not in (select set_id from sets);
"""
_ABSENT_LISTS = """
select distinct reads_id from runs
where reads_id is not null and reads_id not in (select id from read_lists)
"""
_UNUSED_LISTS = """
delete from read_lists where id not in (select reads_id from runs where reads_id is not null)
"""
_UNUSED_PATHS = "delete from read_paths where path_id not in (select path_id from read_rows)"


def fill(store: Store, database: sqlite3.Connection, names: Iterable[str]) -> None:
    """Create the named tables, and complete all that exist."""
    created = [name for name in names if not has_table(database, name)]
    for name in created:
        run_script(database, LAZY[name])
    if "inputs" in created:
        rows = database.execute("select task_hash, task from runs")
        hashes = {TaskHash(bytes.fromhex(task_hash)): TaskKey(task) for task_hash, task in rows}
        add_inputs(store, database, hashes)
    if has_table(database, "files"):
        _add_files(store, database)
    if has_table(database, "reads"):
        _add_reads(store, database)
    for name in created:
        run_script(database, LAZY_INDEXES[name])


def remove_unused(database: sqlite3.Connection) -> None:
    """Delete the inputs, files and lists of runs and outputs that the tables no longer have."""
    if has_table(database, "inputs"):
        run_script(database, _UNUSED_INPUTS)
    if has_table(database, "files"):
        database.execute(_UNUSED_TREES)
    if has_table(database, "reads") and database.execute(_UNUSED_LISTS).rowcount:
        database.execute("delete from read_rows where list not in (select list from read_lists)")
        database.execute(_UNUSED_PATHS)


# files


def _add_files(store: Store, database: sqlite3.Connection) -> None:
    """Insert the entries of trees that `files` lacks. Parents come before their folders."""
    pending = {bytes.fromhex(row[0]) for row in database.execute(_ABSENT_TREES)} - {EMPTY_TREE}
    visited = set(pending)
    count = 0
    while pending:
        trees = sorted(pending)[:CHUNK]
        pending.difference_update(trees)
        report("reading files of outputs", count, count + len(trees) + len(pending))
        count += len(trees)
        for folder in _add_trees(store, database, trees):
            if folder not in visited:
                visited.add(folder)
                if not _has_tree(database, folder):
                    pending.add(folder)


def _has_tree(database: sqlite3.Connection, tree: Oid) -> bool:
    query = "select 1 from files where tree = ? limit 1"
    return tree == EMPTY_TREE or database.execute(query, (tree.hex(),)).fetchone() is not None


def _add_trees(store: Store, database: sqlite3.Connection, trees: Sequence[Oid]) -> set[Oid]:
    """Insert the entries of some trees; return the trees among the entries."""
    contents = zip(trees, store.objects.read_many(trees), strict=True)
    rows = [(tree, entry) for tree, content in contents for entry in _entries(content)]
    blobs = sorted({entry.oid for _, entry in rows if entry.mode != MODE_DIRECTORY})
    sizes = dict(zip(blobs, store.objects.sizes_of(blobs), strict=True))
    database.executemany(
        "insert or ignore into files values (?, ?, ?, ?, ?, ?)",
        (
            (
                tree.hex(),
                unescape_name(entry.name).decode("utf-8", "backslashreplace"),
                _KINDS.get(entry.mode, "file"),
                entry.mode,
                entry.oid.hex(),
                sizes.get(entry.oid),
            )
            for tree, entry in rows
        ),
    )
    return {entry.oid for _, entry in rows if entry.mode == MODE_DIRECTORY}


def _entries(content: bytes | None) -> list[Entry]:
    try:
        return decode_tree(content or b"")
    except ValueError:
        return []


# reads


def _add_reads(store: Store, database: sqlite3.Connection) -> None:
    """Insert the lists that the tables lack."""
    lists = [bytes.fromhex(row[0]) for row in database.execute(_ABSENT_LISTS)]
    step = CHUNK // 100
    for begin in range(0, len(lists), step):
        report("reading lists of reads", begin, len(lists))
        chunk = lists[begin : begin + step]
        for oid, content in zip(chunk, store.objects.read_many(chunk), strict=True):
            _add_list(database, oid, content)


def _add_list(database: sqlite3.Connection, oid: Oid, content: bytes | None) -> None:
    try:
        reads = decode_reads(content) if content is not None else None
    except StoreError:
        reads = None
    facts = (reads.opens, reads.probes, reads.toolchain) if reads else (None, None, None)
    insertion = "insert into read_lists (id, opens, probes, toolchain) values (?, ?, ?, ?)"
    number = database.execute(insertion, (oid.hex(), *map(_text, facts))).lastrowid
    rows = reads.rows if reads else ()
    paths = [_text(row.path) for row in rows]
    database.executemany(
        "insert or ignore into read_paths (path) values (?)", ((path,) for path in paths)
    )
    database.executemany(
        "insert or ignore into read_rows"
        " select ?1, path_id, ?3, ?4, ?5 from read_paths where path = ?2",
        (
            (number, path, row.kinds, _text(row.state), _text("\n".join(row.programs)))
            for path, row in zip(paths, rows, strict=True)
        ),
    )


def _text(text: str | None) -> str | None:
    """Return a text that SQLite can store: without surrogates."""
    if text is None:
        return None
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
