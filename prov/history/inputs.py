"""Compare the inputs of two tasks, by name and as text.

A task hash is the id of a tree, so the difference is one between two trees. An entry is a variable,
a function, a source, a patch, the host tools or an edge to another task. The ids that edges lead to
are not own inputs; whether an edge exists is.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.errors import StoreError
from prov.history.diff import diff_pairs
from prov.records.entries import EDGES, FROM
from prov.records.ids import EdgeId, TaskHash
from prov.records.keys import TaskKey
from prov.records.own_entries import ALONE, NAMED, OwnEntries, flatten
from prov.records.record import read_edge_id
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.worktree.attributes import Pair, TreeReader

KINDS = (*NAMED.values(), *ALONE.values(), "dependency", "same inputs")
"""Kinds of changes, in the order of printing.

`same inputs`: a task produced a different output although its inputs did not change.
"""
START = "starting directory"
"""Kind: the directory before a command without a recipe, as the id of a tree."""
LONG = 40
"""Default maximum number of diff lines for a change."""


class Edge(NamedTuple):
    """A dependency of a task."""

    kind: str
    """`after`, `from` or `needs`."""
    key: TaskKey
    """The task at the end of the edge."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A task's own inputs as tree entries, and the ids that its edges lead to."""

    key: TaskKey
    task_hash: TaskHash | None
    """None if it is unknown until another task has run."""
    own: OwnEntries
    edges: Mapping[Edge, EdgeId | None]
    """An id is None if the task has to run first."""


@dataclass(frozen=True, slots=True)
class Change:
    """A changed own input. `old` is None if it was added, `new` if it was removed."""

    kind: str
    name: str
    old: Entry | None
    new: Entry | None

    @property
    def title(self) -> str:
        """The input as text: `variable CFLAGS`."""
        name = " ".join(filter(None, (self.kind, self.name)))
        if self.old is None and self.new is not None:
            return f"{name} added"
        if self.old is not None and self.new is None:
            return f"{name} removed"
        return name


@dataclass(frozen=True, slots=True)
class Compared:
    """The differences between two tasks' inputs."""

    own: tuple[Change, ...]
    edges: tuple[Edge, ...] = field(default=())
    """Edges of both tasks that lead to different ids."""


def read_inputs(reader: TreeReader, key: TaskKey, task_hash: TaskHash) -> Inputs:
    """Return the inputs with a task hash. Raises StoreError if the store does not have them."""
    return inputs_of(reader, key, task_hash, reader.tree(task_hash))


def inputs_of(
    reader: TreeReader, key: TaskKey, task_hash: TaskHash | None, entries: Iterable[Entry]
) -> Inputs:
    """Return the inputs that the entries of an inputs tree describe."""
    entries = list(entries)
    edges: dict[Edge, EdgeId | None] = {}
    for entry in entries:
        kind = os.fsdecode(entry.name)
        if kind not in EDGES:
            continue
        for blob in reader.tree(entry.oid):
            name = os.fsdecode(blob.name)
            task = TaskKey.of(key.recipe, name) if kind == "after" else TaskKey(name)
            edges[Edge(kind, task)] = read_edge_id(reader, blob.oid)
    return Inputs(key, task_hash, flatten(reader, entries), edges)


def compare(reader: TreeReader, old: Inputs, new: Inputs) -> Compared:
    """Return the differences between two tasks' inputs, in the order of KINDS and by name."""
    common = sorted(old.edges.keys() & new.edges.keys())
    own = [
        Change(kind, name, old.own.get((kind, name)), new.own.get((kind, name)))
        for kind, name in old.own.keys() | new.own.keys()
        if old.own.get((kind, name)) != new.own.get((kind, name))
    ]
    moved = [edge for edge in common if not _is_same_edge(old.edges[edge], new.edges[edge])]
    if any(edge.kind == FROM for edge in moved):
        own = [change for change in own if change.kind != START]
    own += [
        _edge_change(edge, is_new=edge in new.edges)
        for edge in sorted(old.edges.keys() ^ new.edges.keys())
    ]
    if any(change.kind == "dependency" for change in own):
        own = [change for change in own if not _only_edges(reader, change)]
    order = {kind: number for number, kind in enumerate(KINDS)}
    own.sort(key=lambda change: (order.get(change.kind, len(order)), change.name))
    return Compared(tuple(own), tuple(moved))


def _is_same_edge(old: EdgeId | None, new: EdgeId | None) -> bool:
    """Return whether an edge leads to the same id; False if the new id is unknown."""
    return new is not None and old == new


def _edge_change(edge: Edge, *, is_new: bool) -> Change:
    entry = Entry(edge.key.encode(), MODE_FILE, EMPTY_TREE)
    name = " ".join(edge)
    if is_new:
        return Change("dependency", name, None, entry)
    return Change("dependency", name, entry, None)


def _only_edges(reader: TreeReader, change: Change) -> bool:
    """Return whether only the dependencies of a definition changed; they are listed separately."""
    if change.kind != "definition" or not change.old or not change.new:
        return False
    old, new = (
        [line for line in reader.blob(entry.oid).splitlines() if not line.startswith(b"needs ")]
        for entry in (change.old, change.new)
    )
    return old == new


# as text


def difference_text(reader: TreeReader, change: Change, *, most: int = LONG) -> list[str]:
    """Return a change as at most `most` lines of a diff; for folders, the changed files."""
    if change.kind in ("dependency", "same inputs"):
        return []
    lines = list(_difference(reader, change, most))
    return lines if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} more lines"]


def _difference(reader: TreeReader, change: Change, most: int) -> Iterator[str]:
    if change.kind in ("host tools", START):
        trees = [_named_tree(reader, entry) for entry in (change.old, change.new)]
    elif _is_folder(change.old) or _is_folder(change.new):
        trees = [_folder(entry) for entry in (change.old, change.new)]
    else:
        texts = [reader.blob(entry.oid) if entry else b"" for entry in (change.old, change.new)]
        yield from text_difference(*texts)
        return
    old, new = (Pair(tree, None) for tree in trees)
    yield from _tree_difference(reader, old, new, most)


def _is_folder(entry: Entry | None) -> bool:
    return entry is not None and entry.mode == MODE_DIRECTORY


def _folder(entry: Entry | None) -> Oid:
    if entry is None or entry.mode != MODE_DIRECTORY:
        return EMPTY_TREE
    return entry.oid


def _named_tree(reader: TreeReader, entry: Entry | None) -> Oid:
    """Return the tree of host tools or of a start, an empty one if the store does not have it.

    Only its id is known if it was collected or belongs to a different machine.
    """
    tree = read_edge_id(reader, entry.oid) if entry else EMPTY_TREE
    try:
        reader.tree(tree)
    except StoreError:
        return EMPTY_TREE
    return tree


def _tree_difference(reader: TreeReader, old: Pair, new: Pair, most: int) -> Iterator[str]:
    for difference in diff_pairs(reader, old, new)[: most + 1]:
        yield f"{difference.letter} {difference.path}"
        if difference.change != "changed":
            continue
        before = reader.blob(bytes.fromhex(difference.old_oid))
        after = reader.blob(bytes.fromhex(difference.new_oid))
        if b"\0" not in before and b"\0" not in after:
            yield from (f"    {line}" for line in text_difference(before, after))


def text_difference(old: bytes, new: bytes, *, context: int = 1) -> list[str]:
    """Return the lines of a unified diff, without its header; one line if either text is binary."""
    if b"\0" in old or b"\0" in new:
        return [f"binary, {len(old)} bytes -> {len(new)} bytes"]
    before, after = (data.decode("utf-8", "replace").splitlines() for data in (old, new))
    lines = list(difflib.unified_diff(before, after, n=context, lineterm=""))[2:]
    if not lines and old != new:
        return ["only the final newline or the mode changed"]
    return lines
