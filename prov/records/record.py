"""Read task commits and records from the store as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prov.errors import CHECK_STORE, StoreError
from prov.records.entries import (
    ATTRIBUTES,
    DEFINITION,
    ENVIRONMENT,
    FACTS,
    INPUTS,
    LOG,
    OUTPUT,
    WHOLE,
)
from prov.records.ids import CommitId, EdgeId, OutputId, TaskHash, TreeId, Unihash
from prov.records.keyvalue import decode_lines
from prov.store.objects import Commit, Entry, Oid
from prov.worktree.attributes import Pair, TreeReader

_ID = re.compile(rb"[0-9a-f]{40}")
_UNIHASH = re.compile(rb"[0-9a-f]{64}")


class RecordReader(TreeReader, Protocol):
    """The parts of a store needed to read records."""

    def commit(self, oid: Oid) -> Commit: ...


@dataclass(frozen=True, slots=True)
class TaskCommit:
    """The parts of a task commit. A commit of manual changes has the same parts."""

    commit: CommitId
    tree: TreeId
    before: CommitId
    """The commit of the WORKDIR before the task."""
    record: CommitId


def read_task_commit(reader: RecordReader, oid: Oid) -> TaskCommit:
    """Return a task commit's parts. Raises StoreError for a commit without a record."""
    commit = reader.commit(oid)
    if len(commit.parents) < 2:
        raise StoreError(
            f"commit {oid.hex()} is not a task commit: it has no record",
            hint="run `prov fsck` to find the ref that points to it",
        )
    before, record = commit.parents[:2]
    return TaskCommit(CommitId(oid), TreeId(commit.tree), CommitId(before), CommitId(record))


def record_in(commit: Commit) -> CommitId | None:
    """Return the record commit that a task commit names; None if it is not a task commit."""
    return CommitId(commit.parents[1]) if len(commit.parents) > 1 else None


def record_of(reader: RecordReader, oid: Oid) -> CommitId:
    """Return the record commit of a task commit. Raises StoreError for a commit without one."""
    return read_task_commit(reader, oid).record


@dataclass(frozen=True, slots=True)
class Record:
    """A record: the ids of its parts, by name."""

    tree: TreeId
    parts: Mapping[bytes, Oid]

    @property
    def task_hash(self) -> TaskHash | None:
        """The id of the inputs tree; None if it is missing, as in a record of manual changes."""
        oid = self.parts.get(INPUTS)
        return TaskHash(oid) if oid is not None else None

    @property
    def output(self) -> OutputId | None:
        """The id of the output; None if the run failed."""
        oid = self.parts.get(OUTPUT)
        return OutputId(oid) if oid is not None else None

    @property
    def result(self) -> OutputId | None:
        """The output; for a command whose output has no name, its whole directory."""
        oid = self.parts.get(WHOLE, self.parts.get(OUTPUT))
        return OutputId(oid) if oid is not None else None

    @property
    def attributes(self) -> Oid | None:
        """The attributes tree of the WORKDIR; None if it has no special attributes."""
        return self.parts.get(ATTRIBUTES)

    @property
    def is_recipes(self) -> bool:
        """Whether this is the record of a recipe's task."""
        return DEFINITION in self.parts

    def text(self, reader: TreeReader, name: bytes) -> bytes:
        """Return one of the record's texts; empty if it is missing."""
        oid = self.parts.get(name)
        return reader.blob(oid) if oid is not None else b""

    def facts(self, reader: TreeReader) -> dict[str, str]:
        """Return the run's task, result, times, host and folders."""
        return decode_lines(self.text(reader, FACTS), " ")

    def environment(self, reader: TreeReader) -> dict[str, str]:
        """Return the recorded part of the run's environment."""
        return decode_lines(self.text(reader, ENVIRONMENT), "=")

    def log(self, reader: TreeReader) -> bytes:
        """Return the log of the run; empty if it was not shared."""
        return self.text(reader, LOG)

    def definition(self, reader: TreeReader) -> bytes:
        """Return the task's definition, which a rerun needs besides the inputs."""
        return self.text(reader, DEFINITION)


def read_record(reader: RecordReader, commit: Oid) -> Record:
    """Return the record in a record commit."""
    tree = reader.commit(commit).tree
    return Record(TreeId(tree), {entry.name: entry.oid for entry in reader.tree(tree)})


def read_run_record(reader: RecordReader, commit: Oid) -> Record:
    """Return the record of a task commit; also accept a record commit itself."""
    parents = reader.commit(commit).parents
    return read_record(reader, parents[1] if len(parents) > 1 else commit)


def read_workdir(reader: RecordReader, oid: Oid) -> Pair:
    """Return the WORKDIR in a task commit or in a commit of manual changes."""
    commit = reader.commit(oid)
    if len(commit.parents) < 2:
        return Pair(commit.tree, None)
    return Pair(commit.tree, read_record(reader, commit.parents[1]).attributes)


def read_edge_id(reader: TreeReader, blob: Oid) -> EdgeId:
    """Return the id of a dependency from its blob in an inputs tree.

    A task hash or an output id has 40 hex digits, a BitBake unihash 64. Raises StoreError for other
    texts.
    """
    return parse_edge_id(reader.blob(blob).strip())


def parse_edge_id(text: bytes) -> EdgeId:
    """Parse the hex digits of a dependency's id, as in `read_edge_id`. Raises StoreError."""
    if _ID.fullmatch(text):
        return TaskHash(bytes.fromhex(text.decode("ascii")))
    if _UNIHASH.fullmatch(text):
        return Unihash(bytes.fromhex(text.decode("ascii")))
    raise StoreError(
        f"invalid id {text[:80]!r} in a task's inputs",
        hint=CHECK_STORE,
    )


def part_at(reader: TreeReader, tree: Oid, path: str) -> Entry | None:
    """Return the entry at a path such as `sysroot/target` in a record's tree, or None."""
    entry = None
    for name in path.encode().split(b"/"):
        entry = next((inside for inside in reader.tree(tree) if inside.name == name), None)
        if entry is None:
            return None
        tree = entry.oid
    return entry
