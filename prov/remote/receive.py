"""Fetch results from a remote; only records that match the signed ids enter the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from prov.intake.digest import Digests
from prov.intake.intake import Intake
from prov.intake.source import Source
from prov.intake.wellformed import BadObject, Limits
from prov.records.entries import DATED, FACTS, INPUTS, OUTPUT
from prov.records.ids import OutputId
from prov.records.record import read_run_record
from prov.remote.bases import choose_bases
from prov.remote.index import Index
from prov.remote.publication import Published
from prov.remote.trust import FetchedRecord, check_record, check_task
from prov.store.objects import Commit, Entry, Oid
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from prov.transport.errors import Malformed, Untrusted

MOST_BAD = 20
"""The number of rejected records after which no more are fetched from a remote."""


class Sender(Protocol):
    """The parts of a remote that fetching results needs."""

    index: Index

    @property
    def name(self) -> str: ...

    def objects(
        self, commits: Sequence[Oid], have: Sequence[Oid]
    ) -> AbstractContextManager[Source]: ...


class RunReader(Protocol):
    """The parts of a store that reading a run needs."""

    def blob(self, oid: Oid) -> bytes: ...

    def tree(self, oid: Oid) -> list[Entry]: ...

    def commit(self, oid: Oid) -> Commit: ...


@dataclass(slots=True)
class Received:
    """The outcome of fetching results."""

    tasks: list[Published] = field(default_factory=list)
    refused: list[Untrusted] = field(default_factory=list)
    size: int = 0
    """Bytes that the store grew by."""


def digests_of(objects: ObjectDatabase) -> Digests:
    """Return the cache of SHA-256 ids of a store's objects."""
    return Digests(objects, objects.git_dir / "prov" / "digests")


def receive(
    sender: Sender,
    store: Store,
    tasks: Sequence[Published],
    *,
    holds: Callable[[Published], bool],
    limits: Limits | None = None,
    workdirs: bool = False,
) -> Received:
    """Fetch results and add the accepted ones completely to the store, without refs.

    `holds` returns whether the store has a complete record. Raises Unreachable.
    """
    received = Received()
    pending = list(tasks)
    ids = [task.commit for task in pending]
    if workdirs:
        ids += [task.workdir for task in pending if task.workdir]
    with sender.objects(ids, choose_bases(sender.index, pending, holds)) as source:
        while pending and len(received.refused) < MOST_BAD:
            try:
                received.size = _take(
                    sender, store, source, pending, limits or Limits(), workdirs=workdirs
                )
            except _Bad as bad:  # retry without it, so that none of its objects is stored
                received.refused.append(bad.problem)
                pending.remove(bad.task)
            else:
                received.tasks = pending
                break
    return received


class _Bad(Exception):
    def __init__(self, task: Published, problem: Untrusted) -> None:
        self.task = task
        self.problem = problem


def _take(
    sender: Sender,
    store: Store,
    source: Source,
    tasks: Sequence[Published],
    limits: Limits,
    *,
    workdirs: bool,
) -> int:
    with store.objects.writer() as writer:
        intake = Intake(source, writer, digests_of(store.objects), limits)
        for task in tasks:
            key = sender.index.signer(task.record)
            intake.begin()
            try:
                check_record(sender.name, key, task, take_record(intake, task.record))
                if workdirs and task.workdir:
                    if intake.workdir(task.workdir).id != task.workdir_digest:
                        raise BadObject("the WORKDIR does not match its signed SHA-256")
                    check_task(sender.name, key, task, read_run(intake.reader, task.workdir))
            except (BadObject, RecursionError) as error:
                raise _Bad(
                    task, Malformed(sender.name, f"rejected: {error}", key=key, task=task.key)
                ) from error
            except Untrusted as error:
                raise _Bad(task, error) from error
        writer.finish()
        intake.learn()
        return writer.total


def take_record(intake: Intake, oid: Oid) -> FetchedRecord:
    """Add a record to the intake and return the parts to check. Raises BadObject."""
    digest = intake.tree(oid)
    parts = intake.parts(oid)
    if OUTPUT in parts:
        intake.check_output(parts[OUTPUT], parts.get(DATED))
    return _read_record(intake.reader, parts, digest.id)


def read_run(reader: RunReader, commit: Oid) -> FetchedRecord:
    """Return the parts to check of the run that produced a WORKDIR's commit."""
    if len(reader.commit(commit).parents) < 2:
        return FetchedRecord(b"", {}, None, None)
    record = read_run_record(reader, commit)
    return _read_record(reader, record.parts, b"")


def _read_record(reader: RunReader, parts: Mapping[bytes, Oid], digest: bytes) -> FetchedRecord:
    facts = reader.blob(parts[FACTS]) if FACTS in parts else b""
    lines = (
        line.partition(" ")[::2] for line in facts.decode("utf-8", "replace").split("\n") if line
    )
    output = parts.get(OUTPUT)
    return FetchedRecord(
        digest, dict(lines), parts.get(INPUTS), OutputId(output) if output is not None else None
    )
