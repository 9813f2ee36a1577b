"""Read the inputs trees of task hashes as rows of `inputs` and `edges`.

Most folders of an inputs tree, such as its variables, are shared by many task hashes. Each is a set
of rows, stored once. The entries outside folders form a set of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prov.errors import StoreError
from prov.query.schema import absent
from prov.records.entries import EDGES
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.own_entries import ALONE, NAMED
from prov.records.record import parse_edge_id
from prov.store.objects import Entry, Oid, decode_tree, object_id
from prov.store.repository import Store

_FOLDERS = {name: name.decode() for name in NAMED} | {name.encode(): name for name in EDGES}
"""Folders of inputs trees, as bytes and as text."""
LONGEST_VALUE = 10_000
"""The size in bytes up to which a variable's value is in the table."""


@dataclass(slots=True)
class _NewSet:
    """A set that is not in the tables yet: a folder of an inputs tree."""

    set_id: int
    name: str
    tree: Oid
    recipe: str


@dataclass(slots=True)
class _Sets:
    """The sets in the tables, and those to be added."""

    database: sqlite3.Connection
    ids: dict[str, int] = field(default_factory=dict)
    """Key of a set -> its id."""
    folders: list[_NewSet] = field(default_factory=list)
    rows: list[tuple[int, str, str, str]] = field(default_factory=list)
    """Rows of entries outside folders: set, kind, name, id."""
    added: list[tuple[int, str]] = field(default_factory=list)
    """Rows of `sets`."""
    next_id: int = field(init=False)

    def __post_init__(self) -> None:
        row = self.database.execute("select coalesce(max(set_id), 0) from sets").fetchone()
        self.next_id = row[0] + 1

    def folder(self, name: str, tree: Oid, recipe: str) -> int:
        """Return the set of a folder."""
        own = recipe if name == "after" else ""  # its names are tasks of the recipe
        set_id, is_new = self._find(f"{name} {own} {tree.hex()}")
        if is_new:
            self.folders.append(_NewSet(set_id, name, tree, recipe))
        return set_id

    def alone(self, entries: Sequence[Entry]) -> int:
        """Return the set of the entries outside folders."""
        text = b"".join([entry.name + entry.oid for entry in entries])
        set_id, is_new = self._find(f"alone  {object_id('blob', text).hex()}")
        if is_new:
            for entry in entries:
                kind = ALONE.get(entry.name) or _text(entry.name)
                self.rows.append((set_id, kind, "", entry.oid.hex()))
        return set_id

    def _find(self, key: str) -> tuple[int, bool]:
        """Return the id of a set, and whether the set is new."""
        set_id = self.ids.get(key)
        if set_id is not None:
            return set_id, False
        query = "select set_id from sets where key = ?"
        # looking up each key in an empty table would take a second for 100,000 runs
        row = self.database.execute(query, (key,)).fetchone() if self.next_id > 1 else None
        set_id = self.ids[key] = self.next_id + len(self.added) if row is None else row[0]
        if row is None:
            self.added.append((set_id, key))
        return set_id, row is None


def add_inputs(
    store: Store, database: sqlite3.Connection, hashes: Mapping[TaskHash, TaskKey]
) -> None:
    """Insert the inputs and edges of task hashes that the tables lack."""
    new = [TaskHash(oid) for oid in absent(database, "task_sets", "task_hash", hashes.keys())]
    sets, pairs = _Sets(database), []
    for task_hash, content in zip(new, store.objects.read_many(new), strict=True):
        text, recipe = task_hash.hex(), hashes[task_hash].recipe
        pairs += [(text, set_id) for set_id in _sets_of(sets, _entries(content), recipe)]
    database.executemany("insert into sets values (?, ?)", sets.added)
    database.executemany("insert or ignore into task_sets values (?, ?)", pairs)
    database.executemany("insert or ignore into input_rows values (?, ?, ?, ?, null)", sets.rows)
    _add_folders(store, database, sets.folders)


def _entries(content: bytes | None) -> list[Entry]:
    """Return a tree's entries; none if it is missing or malformed."""
    try:
        return decode_tree(content or b"")
    except ValueError:
        return []


def _sets_of(sets: _Sets, entries: Iterable[Entry], recipe: str) -> Iterator[int]:
    alone = []
    for entry in entries:
        name = _FOLDERS.get(entry.name)
        if name is None:
            alone.append(entry)
        else:
            yield sets.folder(name, entry.oid, recipe)
    if alone:
        yield sets.alone(alone)


def _add_folders(store: Store, database: sqlite3.Connection, folders: Sequence[_NewSet]) -> None:
    """Insert the rows of new sets."""
    own: list[tuple[_NewSet, Entry]] = []
    edges: list[tuple[_NewSet, Entry]] = []
    contents = store.objects.read_many([folder.tree for folder in folders])
    for folder, content in zip(folders, contents, strict=True):
        rows = edges if folder.name in EDGES else own
        rows += [(folder, entry) for entry in _entries(content)]
    values = _texts(store, {entry.oid for folder, entry in own if folder.name == "variables"})
    database.executemany(
        "insert or ignore into input_rows values (?, ?, ?, ?, ?)",
        (
            (
                folder.set_id,
                NAMED[folder.name.encode()],
                _text(entry.name),
                entry.oid.hex(),
                values.get(entry.oid) if folder.name == "variables" else None,
            )
            for folder, entry in own
        ),
    )
    texts = _texts(store, {entry.oid for _, entry in edges})
    ids = {oid: _edge_id(text) for oid, text in texts.items()}
    database.executemany(
        "insert or ignore into edge_rows values (?, ?, ?, ?)",
        (
            (folder.set_id, folder.name, _needed(folder, entry), ids.get(entry.oid, ""))
            for folder, entry in edges
        ),
    )


def _needed(folder: _NewSet, entry: Entry) -> str:
    """Return the task at the end of an edge."""
    name = _text(entry.name)
    return TaskKey.of(folder.recipe, name) if folder.name == "after" else name


def _edge_id(text: str) -> str:
    """Return the id of a dependency in hex; empty if it is malformed."""
    try:
        return parse_edge_id(text.strip().encode()).hex()
    except StoreError:
        return ""


def _texts(store: Store, blobs: set[Oid]) -> dict[Oid, str]:
    """Return the contents of blobs, without unreadable and long ones."""
    oids = sorted(blobs)
    contents = zip(oids, store.objects.read_many(oids), strict=True)
    return {
        oid: _text(content)
        for oid, content in contents
        if content is not None and len(content) <= LONGEST_VALUE
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
