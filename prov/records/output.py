"""Outputs: the trees that tasks pass to other tasks, each with a commit of its own.

The commit has no parents and a constant author and date. Its message is one of three and depends
only on whether the output is relocatable and signed, so a signed output has the same commit id
everywhere.
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
    """A task's output, and the script that runs wherever the output is used."""

    pair: Pair
    postprocess: bytes = b""
    fixed: bytes = b""
    """The paths to which the output is tied; empty if it is relocatable."""

    @property
    def message(self) -> str:
        """The message of its commit."""
        return FIXED_MESSAGE if self.fixed else OUTPUT_MESSAGE


def write_pair(writer: TreeWriter, pair: Pair, extra: Sequence[Entry] = ()) -> Oid:
    """Write the tree of a recorded directory: content, attributes and `extra` entries."""
    entries = list(extra)
    if pair.tree != EMPTY_TREE:
        entries.append(Entry(CONTENT, MODE_DIRECTORY, pair.tree))
    if pair.attributes is not None:
        entries.append(Entry(ATTRIBUTES, MODE_DIRECTORY, pair.attributes))
    return writer.add_tree(entries)


def read_pair(reader: TreeReader, tree: Oid) -> Pair:
    """Return the recorded directory in a tree written by `write_pair` or `write_output`."""
    parts = {entry.name: entry.oid for entry in reader.tree(tree)}
    return Pair(parts.get(CONTENT, EMPTY_TREE), parts.get(ATTRIBUTES))


def write_output(writer: TreeWriter, output: Output) -> OutputId:
    """Write an output's tree and return its id, which also depends on the postprocess script."""
    texts = {POSTPROCESS: output.postprocess, FIXED: output.fixed}
    extra = [
        Entry(name, MODE_FILE, writer.add("blob", text)) for name, text in texts.items() if text
    ]
    return OutputId(write_pair(writer, output.pair, extra))


def write_output_commit(writer: ObjectWriter, output: OutputId, message: str) -> CommitId:
    """Write an output's commit."""
    return CommitId(writer.add_commit(Commit(output, (), CONSTANT_IDENTITY, message)))


def read_postprocess(reader: TreeReader, output: Oid) -> bytes:
    """Return an output's postprocess script, or an empty text."""
    return _text(reader, output, POSTPROCESS)


def read_fixed(reader: TreeReader, output: Oid) -> bytes:
    """Return the paths to which an output is tied; empty if it is relocatable."""
    return _text(reader, output, FIXED)


def _text(reader: TreeReader, output: Oid, name: bytes) -> bytes:
    entries = reader.tree(output)
    return next((reader.blob(entry.oid) for entry in entries if entry.name == name), b"")
