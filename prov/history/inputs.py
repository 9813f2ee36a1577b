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

from prov.history.diff import diff_pairs
from prov.records.entries import EDGES
from prov.records.ids import TaskHash
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

Edge = tuple[str, str]
"""`after`, `from` or `needs`, and the task's key."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A task's inputs: own ones as tree entries, and what each edge stands at (a hash or an output
    id, in hex).
    """

    key: TaskKey
    task_hash: TaskHash | None
    """None where it can't be known before something has run."""
    own: OwnEntries
    edges: Mapping[Edge, str | None]
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
        what = "" if self.old and self.new else " added" if self.new else " removed"
        return " ".join(filter(None, (self.kind, self.name))) + what


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
    edges: dict[Edge, str | None] = {}
    recipe = key.recipe
    for entry in entries:
        kind = os.fsdecode(entry.name)
        for below in reader.tree(entry.oid) if kind in EDGES else ():
            name = os.fsdecode(below.name)
            edges[kind, f"{recipe}:{name}" if kind == "after" else name] = read_edge_id(
                reader, below.oid
            ).hex()
    return Inputs(key, task_hash, flatten(reader, entries), edges)


def compare(reader: TreeReader, old: Inputs, new: Inputs) -> Compared:
    """Return what is different between two tasks' inputs, in the order of KINDS and by name."""
    own = [
        Change(kind, name, old.own.get((kind, name)), new.own.get((kind, name)))
        for kind, name in old.own.keys() | new.own.keys()
        if old.own.get((kind, name)) != new.own.get((kind, name))
    ]
    edges = []
    for edge in sorted(old.edges.keys() | new.edges.keys()):
        if edge in old.edges and edge in new.edges:
            if new.edges[edge] is None or old.edges[edge] != new.edges[edge]:
                edges.append(edge)
        else:
            own.append(_edge_change(edge, there=edge in new.edges))
    if any(change.kind == "dependency" for change in own):
        own = [change for change in own if not _only_edges(reader, change)]
    order = {kind: number for number, kind in enumerate(KINDS)}
    own.sort(key=lambda change: (order.get(change.kind, len(order)), change.name))
    return Compared(tuple(own), tuple(edges))


def _edge_change(edge: Edge, *, there: bool) -> Change:
    entry = Entry(edge[1].encode(), MODE_FILE, EMPTY_TREE)
    return Change("dependency", " ".join(edge), None if there else entry, entry if there else None)


def _only_edges(reader: TreeReader, change: Change) -> bool:
    """Tell whether a definition's text changed in what it needs alone, which the dependency's
    change tells already.
    """
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
        old, new = (_toolchain(reader, entry) for entry in (change.old, change.new))
        yield from _tree_difference(reader, Pair(old, None), Pair(new, None), most)
        return
    sides = (change.old, change.new)
    if any(entry is not None and entry.mode == MODE_DIRECTORY for entry in sides):
        trees = [
            entry.oid if entry is not None and entry.mode == MODE_DIRECTORY else EMPTY_TREE
            for entry in sides
        ]
        yield from _tree_difference(reader, Pair(trees[0], None), Pair(trees[1], None), most)
        return
    old_text, new_text = (reader.blob(entry.oid) if entry else b"" for entry in sides)
    yield from text_difference(old_text, new_text)


def _toolchain(reader: TreeReader, entry: Entry | None) -> Oid:
    tree = read_edge_id(reader, entry.oid) if entry else EMPTY_TREE
    try:
        reader.tree(tree)
    except Exception:  # pruned, or another machine's: the ids are all there is to tell
        return EMPTY_TREE
    return tree


def _tree_difference(reader: TreeReader, old: Pair, new: Pair, most: int) -> Iterator[str]:
    for each in diff_pairs(reader, old, new)[: most + 1]:
        yield f"{each.letter} {each.path}"
        if each.change == "changed":
            before, after = (
                reader.blob(bytes.fromhex(each.old_oid)),
                reader.blob(bytes.fromhex(each.new_oid)),
            )
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
