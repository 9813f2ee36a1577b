"""Outputs: what a task gives to others, as a tree with a commit of its own.

The commit has no parents, and constant author and date. Its message is one of three, so that one
output is one commit id everywhere, as long as it is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prov.records.entries import ATTRIBUTES, CONTENT, FIXED, POSTPROCESS
from prov.records.ids import CommitId, OutputId
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Oid,
)
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import Pair, TreeReader, TreeWriter

OUTPUT_MESSAGE = "output\n"
FIXED_MESSAGE = "output, of use in one place\n"
UNSIGNED_MESSAGE = "output, unsigned, from a remote\n"
OUTPUT_MESSAGES = (OUTPUT_MESSAGE, FIXED_MESSAGE, UNSIGNED_MESSAGE)


@dataclass(frozen=True, slots=True)
class Output:
    """A task's output, and the script that runs wherever the output is put in place."""

    pair: Pair
    postprocess: bytes = b""
    fixed: bytes = b""
    """The paths of the only place where it can be used, if it holds a path that has no token."""

    @property
    def message(self) -> str:
        """The message of its commit."""
        return FIXED_MESSAGE if self.fixed else OUTPUT_MESSAGE


def write_pair(writer: TreeWriter, pair: Pair, extra: Sequence[Entry] = ()) -> Oid:
    """Write the tree that holds a recorded directory whole."""
    entries = list(extra)
    if pair.tree != EMPTY_TREE:
        entries.append(Entry(CONTENT, MODE_DIRECTORY, pair.tree))
    if pair.attributes is not None:
        entries.append(Entry(ATTRIBUTES, MODE_DIRECTORY, pair.attributes))
    return writer.add_tree(entries)


def read_pair(reader: TreeReader, tree: Oid) -> Pair:
    """Return the recorded directory that `write_pair` or `write_output` wrote."""
    parts = {entry.name: entry.oid for entry in reader.tree(tree)}
    return Pair(parts.get(CONTENT, EMPTY_TREE), parts.get(ATTRIBUTES))


def write_output(writer: TreeWriter, output: Output) -> OutputId:
    """Write an output's tree and return its id: a changed postprocess makes another output."""
    texts = {POSTPROCESS: output.postprocess, FIXED: output.fixed}
    extra = [
        Entry(name, MODE_FILE, writer.add("blob", text)) for name, text in texts.items() if text
    ]
    return OutputId(write_pair(writer, output.pair, extra))


def write_output_commit(writer: ObjectWriter, output: OutputId, message: str) -> CommitId:
    """Write the commit that holds an output."""
    return CommitId(writer.add_commit(Commit(output, (), CONSTANT_IDENTITY, message)))


def read_postprocess(reader: TreeReader, output: Oid) -> bytes:
    """Return an output's postprocess script, empty if it has none."""
    return _text(reader, output, POSTPROCESS)


def read_fixed(reader: TreeReader, output: Oid) -> bytes:
    """Return the paths of the only place where an output is of use, empty if relocatable."""
    return _text(reader, output, FIXED)


def _text(reader: TreeReader, output: Oid, name: bytes) -> bytes:
    entries = reader.tree(output)
    return next((reader.blob(entry.oid) for entry in entries if entry.name == name), b"")
