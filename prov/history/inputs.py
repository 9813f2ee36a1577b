"""What is different between the inputs of two tasks, by name, and as text.

A task hash is the id of a tree, so that all of this is the difference of two trees: an entry is a
variable, a function, a source, a patch, the host's tools or an edge to another task. Own inputs are
all but the edges' ids; that an edge is there or not is the task's own, too.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.errors import StoreError
from prov.history.diff import diff_pairs
from prov.records.entries import EDGES
from prov.records.ids import EdgeId, TaskHash
from prov.records.keys import TaskKey
from prov.records.record import read_edge_id
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.tasks.recorded import ALONE, NAMED, OwnEntries, flatten
from prov.worktree.attributes import Pair, TreeReader

KINDS = (*NAMED.values(), *ALONE.values(), "dependency", "same inputs")
"""Of changes.

`same inputs`: a task gave another output although nothing that goes into it changed.
"""
LONG = 40
"""Lines of one text's difference that people are shown."""


class Edge(NamedTuple):
    """A dependency of a task."""

    kind: str
    """`after`, `from` or `needs`."""
    key: TaskKey
    """The task that it leads to."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A task's inputs: its own, as tree entries, and the id behind each edge."""

    key: TaskKey
    task_hash: TaskHash | None
    """None where it can't be known before something has run."""
    own: OwnEntries
    edges: Mapping[Edge, EdgeId | None]
    """None: of a task that has to run first."""


@dataclass(frozen=True, slots=True)
class Change:
    """One own input that is not the same; `old` or `new` is None where it is not there."""

    kind: str
    name: str
    old: Entry | None
    new: Entry | None

    @property
    def title(self) -> str:
        """What it is, in words: `variable CFLAGS`."""
        name = " ".join(filter(None, (self.kind, self.name)))
        if self.old is None and self.new is not None:
            return f"{name} added"
        if self.old is not None and self.new is None:
            return f"{name} removed"
        return name


@dataclass(frozen=True, slots=True)
class Compared:
    """Two tasks' inputs side by side."""

    own: tuple[Change, ...]
    edges: tuple[Edge, ...] = field(default=())
    """Those that both have, and that are not the same."""


def read_inputs(reader: TreeReader, key: TaskKey, task_hash: TaskHash) -> Inputs:
    """Return the inputs behind a task hash. Raises StoreError where they are not in the store."""
    return inputs_of(reader, key, task_hash, reader.tree(task_hash))


def inputs_of(
    reader: TreeReader, key: TaskKey, task_hash: TaskHash | None, entries: Iterable[Entry]
) -> Inputs:
    """Return the inputs that an inputs tree's entries stand for."""
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
    """Return what is different between two tasks' inputs, in the order of KINDS and by name."""
    own = [
        Change(kind, name, old.own.get((kind, name)), new.own.get((kind, name)))
        for kind, name in old.own.keys() | new.own.keys()
        if old.own.get((kind, name)) != new.own.get((kind, name))
    ]
    own += [
        _edge_change(edge, is_new=edge in new.edges)
        for edge in sorted(old.edges.keys() ^ new.edges.keys())
    ]
    if any(change.kind == "dependency" for change in own):
        own = [change for change in own if not _only_edges(reader, change)]
    order = {kind: number for number, kind in enumerate(KINDS)}
    own.sort(key=lambda change: (order.get(change.kind, len(order)), change.name))
    common = sorted(old.edges.keys() & new.edges.keys())
    moved = [edge for edge in common if not _is_same_edge(old.edges[edge], new.edges[edge])]
    return Compared(tuple(own), tuple(moved))


def _is_same_edge(old: EdgeId | None, new: EdgeId | None) -> bool:
    """Return whether an edge leads to the same result: not if that is not known yet."""
    return new is not None and old == new


def _edge_change(edge: Edge, *, is_new: bool) -> Change:
    entry = Entry(edge.key.encode(), MODE_FILE, EMPTY_TREE)
    name = " ".join(edge)
    if is_new:
        return Change("dependency", name, None, entry)
    return Change("dependency", name, entry, None)


def _only_edges(reader: TreeReader, change: Change) -> bool:
    """Return whether a definition changed in its dependencies alone, which are changes as well."""
    if change.kind != "definition" or not change.old or not change.new:
        return False
    old, new = (
        [line for line in reader.blob(entry.oid).splitlines() if not line.startswith(b"needs ")]
        for entry in (change.old, change.new)
    )
    return old == new


# as text


def difference_text(reader: TreeReader, change: Change, *, most: int = LONG) -> list[str]:
    """Return a change as lines of a diff, at the `most` so many; of folders, the files in them."""
    if change.kind in ("dependency", "same inputs"):
        return []
    lines = list(_difference(reader, change, most))
    return lines if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} lines more"]


def _difference(reader: TreeReader, change: Change, most: int) -> Iterator[str]:
    if change.kind == "host tools":
        trees = [_toolchain(reader, entry) for entry in (change.old, change.new)]
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


def _toolchain(reader: TreeReader, entry: Entry | None) -> Oid:
    """Return the tree of the host's tools; an empty one if it is not here.

    It may have been collected, or be of another machine: only its id is known then.
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
    """Return the lines of a unified diff, without its head; of what is no text, that it is
    different.
    """
    if b"\0" in old or b"\0" in new:
        return [f"binary, {len(old)} bytes -> {len(new)} bytes"]
    before, after = (data.decode("utf-8", "replace").splitlines() for data in (old, new))
    lines = list(difflib.unified_diff(before, after, n=context, lineterm=""))[2:]
    if not lines and old != new:
        return ["the end of the last line or the mode is another"]
    return lines
