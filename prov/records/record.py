"""Task commits and records, read from the store as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prov.errors import StoreError
from prov.records.entries import (
    ATTRIBUTES,
    DEFINITION,
    ENVIRONMENT,
    FACTS,
    INPUTS,
    LOG,
    OUTPUT,
)
from prov.records.ids import CommitId, EdgeId, OutputId, TaskHash, TreeId, Unihash
from prov.records.keyvalue import decode_lines
from prov.store.objects import Commit, Entry, Oid
from prov.worktree.attributes import Pair, TreeReader

_ID = re.compile(rb"[0-9a-f]{40}")
_UNIHASH = re.compile(rb"[0-9a-f]{64}")


class RecordReader(TreeReader, Protocol):
    """What reading a record needs of a store."""

    def commit(self, oid: Oid) -> Commit: ...


@dataclass(frozen=True, slots=True)
class TaskCommit:
    """A task commit taken apart. The commit of a WORKDIR that no task made has the same shape."""

    commit: CommitId
    tree: TreeId
    before: CommitId
    """The WORKDIR before the task."""
    record: CommitId


def read_task_commit(reader: RecordReader, oid: Oid) -> TaskCommit:
    """Return a task commit's parts. Raises StoreError for a commit without a record."""
    commit = reader.commit(oid)
    if len(commit.parents) < 2:
        raise StoreError(
            f"commit {oid.hex()} is not a task commit: it has no record",
            hint="`prov fsck` names the ref that should not name it",
        )
    before, record = commit.parents[:2]
    return TaskCommit(CommitId(oid), TreeId(commit.tree), CommitId(before), CommitId(record))


def record_of(reader: RecordReader, oid: Oid) -> CommitId:
    """Return the record commit of a task commit. Raises StoreError for a commit without one."""
    return read_task_commit(reader, oid).record


@dataclass(frozen=True, slots=True)
class Record:
    """A record: the ids of its parts, by their names."""

    tree: TreeId
    parts: Mapping[bytes, Oid]

    @property
    def task_hash(self) -> TaskHash | None:
        """The id of the inputs tree; None if the record has none, as that of manual changes."""
        oid = self.parts.get(INPUTS)
        return TaskHash(oid) if oid is not None else None

    @property
    def output(self) -> OutputId | None:
        """The id of the output; None if the run failed."""
        oid = self.parts.get(OUTPUT)
        return OutputId(oid) if oid is not None else None

    @property
    def attributes(self) -> Oid | None:
        """The attributes tree of the WORKDIR; None if all of it is ordinary."""
        return self.parts.get(ATTRIBUTES)

    @property
    def is_recipes(self) -> bool:
        """Whether a recipe's task left the record."""
        return DEFINITION in self.parts

    def text(self, reader: TreeReader, name: bytes) -> bytes:
        """Return one of the record's texts, empty if it has none of that name."""
        oid = self.parts.get(name)
        return reader.blob(oid) if oid is not None else b""

    def facts(self, reader: TreeReader) -> dict[str, str]:
        """Return the run's task, result, times, host and folders."""
        return decode_lines(self.text(reader, FACTS), " ")

    def environment(self, reader: TreeReader) -> dict[str, str]:
        """Return the environment of the run, as far as it is recorded."""
        return decode_lines(self.text(reader, ENVIRONMENT), "=")

    def log(self, reader: TreeReader) -> bytes:
        """Return the log of the run, empty where it was not shared."""
        return self.text(reader, LOG)

    def definition(self, reader: TreeReader) -> bytes:
        """Return what the task needs to run again besides its inputs."""
        return self.text(reader, DEFINITION)


def read_record(reader: RecordReader, commit: Oid) -> Record:
    """Return the record that a record commit holds."""
    tree = reader.commit(commit).tree
    return Record(TreeId(tree), {entry.name: entry.oid for entry in reader.tree(tree)})


def read_run_record(reader: RecordReader, commit: Oid) -> Record:
    """Return the record of a task commit; a commit without a record may be one itself."""
    parents = reader.commit(commit).parents
    return read_record(reader, parents[1] if len(parents) > 1 else commit)


def read_workdir(reader: RecordReader, oid: Oid) -> Pair:
    """Return the WORKDIR that a task commit (or the commit of manual changes) holds."""
    commit = reader.commit(oid)
    if len(commit.parents) < 2:
        return Pair(commit.tree, None)
    return Pair(commit.tree, read_record(reader, commit.parents[1]).attributes)


def read_edge_id(reader: TreeReader, blob: Oid) -> EdgeId:
    """Return the id that stands in an inputs tree for another task.

    A task hash or an output id has 40 hex digits, a BitBake unihash 64. Raises StoreError for
    another text.
    """
    return parse_edge_id(reader.blob(blob).strip())


def parse_edge_id(text: bytes) -> EdgeId:
    """Return the id that hex digits stand for, as `read_edge_id` does. Raises StoreError."""
    if _ID.fullmatch(text):
        return TaskHash(bytes.fromhex(text.decode("ascii")))
    if _UNIHASH.fullmatch(text):
        return Unihash(bytes.fromhex(text.decode("ascii")))
    raise StoreError(
        f"{text[:80]!r} in a task's inputs is not an id",
        hint="the record is damaged or not prov's; `prov fsck` checks the store",
    )


def part_at(reader: TreeReader, tree: Oid, path: str) -> Entry | None:
    """Return the entry of a record's tree at a path such as `sysroot/target`, None if absent."""
    entry = None
    for name in path.encode().split(b"/"):
        entry = next((each for each in reader.tree(tree) if each.name == name), None)
        if entry is None:
            return None
        tree = entry.oid
    return entry
