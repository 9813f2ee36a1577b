"""Check that the target of each ref matches its name, and that the records of runs are valid.

Every object read here exists: `prov.fsck.reach` reports the refs that hold missing ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prov.errors import NewerRecord, StoreError
from prov.fsck.findings import Problem
from prov.records.entries import (
    ATTRIBUTES,
    CONTENT,
    DEFINITION,
    ENVIRONMENT,
    FACTS,
    FIXED,
    INPUTS,
    LOG,
    POSTPROCESS,
)
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import OUTPUT_MESSAGE, OUTPUT_MESSAGES
from prov.records.record import Record, read_record
from prov.records.refs import (
    BUILDS,
    TAGS,
    LabelRef,
    OutputRef,
    OutsideRef,
    PinRef,
    RecordRef,
    Ref,
    RunRef,
    SingleRef,
    StaticRef,
    ToolchainRef,
    parse_ref,
)
from prov.scheduler.deploy import MESSAGE as DEPLOYED_MESSAGE
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Commit, Oid
from prov.store.odb import ObjectDatabase
from prov.tasks.definition import read_definition

OUTPUT_ENTRIES = {
    CONTENT: MODE_DIRECTORY,
    ATTRIBUTES: MODE_DIRECTORY,
    POSTPROCESS: MODE_FILE,
    FIXED: MODE_FILE,
}
RECORD_ENTRIES = frozenset({INPUTS, FACTS})
"""Entries of every record."""
RUN_ENTRIES = frozenset({INPUTS, FACTS, LOG, ENVIRONMENT})
"""Entries of a run's record. A record from a remote has no log and no environment."""
DROP = "delete the ref; the task runs again when needed"
TOOLCHAIN_MESSAGE = "host-toolchain\n"
_ODD = (StoreError, ValueError, KeyError, IndexError)
"""Exceptions from reading an object of an unexpected kind or form."""

_RUN = re.compile(r"([^/\s:]+:[^/\s:]+)( \(failed\))?\n\nTask-Hash: ([0-9a-f]{40})\n")


class Wrong(Exception):
    """A problem of a ref."""


@dataclass(slots=True)
class RefChecker:
    """Checks single refs, then outputs against runs."""

    objects: ObjectDatabase
    outputs: dict[tuple[TaskKey, TaskHash], set[OutputId]] = field(default_factory=dict)
    """Recorded outputs of the runs of each task hash."""
    _definitions: set[tuple[TaskKey, Oid]] = field(default_factory=set)
    _commits: dict[Oid, OutputId] = field(default_factory=dict)
    """Valid output commits -> their outputs."""

    def check(self, refs: Mapping[str, Oid]) -> Iterator[Problem]:
        """Yield the problems of these refs."""
        outputs: list[tuple[OutputRef, Oid]] = []
        for name, oid in refs.items():
            ref = parse_ref(name)
            if ref is None:
                yield self._unknown(refs, name, oid)
                continue
            wrong = self.wrong(ref, oid)
            if wrong:
                yield Problem("ref", name, wrong, repair=DROP)
            elif isinstance(ref, OutputRef):
                outputs.append((ref, oid))
        # last, because it needs the outputs of all runs
        for ref, oid in outputs:
            recorded = self.outputs.get((ref.key, ref.task_hash))
            if recorded and self._commits[oid] not in recorded:
                what = "does not match any recorded run with its task hash"
                yield Problem("ref", str(ref), what, repair="set it to a recorded run's output")

    def _unknown(self, refs: Mapping[str, Oid], name: str, oid: Oid) -> Problem:
        if run_of(self.objects, oid) is not None:
            tags = (tag for tag, other in refs.items() if other == oid and tag.startswith(TAGS))
            if not any(parse_ref(tag) for tag in tags):
                what = "has an unknown name, and is the only ref of a run"
                return Problem("ref", name, what, repair="rename it to the run's own name")
        what = "has an unknown name; prov ignores it"
        return Problem("ref", name, what, repair="none", harmless=True)

    def wrong(self, ref: Ref, oid: Oid) -> str:
        """Return what is wrong with a ref to an object, an empty text if nothing is."""
        try:
            self._check(ref, oid)
        except Wrong as error:
            return str(error)
        except _ODD as error:
            return f"is unreadable: {error}"
        return ""

    def _check(self, ref: Ref, oid: Oid) -> None:
        """Raise Wrong, or one of `_ODD`, if the target of a ref does not match its name."""
        match ref:
            case RunRef():
                self._run(ref, oid)
            case RecordRef():
                self._record(ref, oid, RECORD_ENTRIES)
            case OutsideRef():
                self._outside(oid)
            case OutputRef() | StaticRef():
                self._output(oid)
            case ToolchainRef():
                self._toolchain(ref, oid)
            case LabelRef():
                self._build(oid)
            case PinRef():
                self._pin(ref, oid)
            case SingleRef():
                self._single(ref, oid)
            case _:
                self.objects.commit(oid)

    def _outside(self, oid: Oid) -> None:
        if len(self.objects.commit(oid).parents) != 2:
            raise Wrong("does not point to a WORKDIR commit")

    def _run(self, ref: RunRef, oid: Oid) -> None:
        parents = self.objects.commit(oid).parents
        if len(parents) != 2:
            raise Wrong("does not point to a task commit")
        self._record(ref, parents[-1], RUN_ENTRIES)

    def _record(self, ref: RunRef | RecordRef, oid: Oid, required: frozenset[bytes]) -> None:
        record = self._whole_record(oid, required)
        if record.task_hash != ref.task_hash:
            other = record.parts[INPUTS].hex()
            raise Wrong(f"has a record with the wrong task hash {other}")
        facts = record.facts(self.objects)
        if facts.get("task") != ref.key or facts.get("task-hash") != ref.task_hash.hex():
            raise Wrong(f"has a record with the wrong task {facts.get('task', 'none')}")
        self._check_outcome(ref, record)
        self._check_definition(ref.key, record)
        # the output of a run in a scratch directory or on leftovers has no output ref
        if record.output is not None and not facts.keys() & {"aside", "incremental"}:
            self.outputs.setdefault((ref.key, ref.task_hash), set()).add(record.output)

    def _whole_record(self, oid: Oid, required: frozenset[bytes]) -> Record:
        record = read_record(self.objects, oid)
        missing = sorted(name.decode() for name in required - record.parts.keys())
        if missing:
            raise Wrong(f"has a record without {', '.join(missing)}")
        if self.objects.commit(oid).parents:
            raise Wrong("does not point to a record")
        return record

    def _check_outcome(self, ref: RunRef | RecordRef, record: Record) -> None:
        failed = isinstance(ref, RunRef) and ref.failed
        if failed and record.output is not None:
            raise Wrong("is a failed run, but its record has an output")
        if not failed and record.output is None:
            raise Wrong("has a record without an output")

    def _check_definition(self, key: TaskKey, record: Record) -> None:
        oid = record.parts.get(DEFINITION)
        if oid is None or (key, oid) in self._definitions:
            return
        try:
            read_definition(self.objects.blob(oid), key)
        except NewerRecord:
            pass  # a newer prov can read it
        except StoreError as error:
            raise Wrong(f"has an invalid definition: {error}") from error
        self._definitions.add((key, oid))

    def _output(self, oid: Oid) -> None:
        if oid in self._commits:
            return
        commit = self.objects.commit(oid)
        if commit.message not in OUTPUT_MESSAGES or commit != output_commit(commit):
            raise Wrong("does not point to an output commit")
        for entry in self.objects.tree(commit.tree) if commit.tree != EMPTY_TREE else ():
            if OUTPUT_ENTRIES.get(entry.name) != entry.mode:
                raise Wrong(f"does not point to an output: its tree holds {entry.name!r}")
        self._commits[oid] = OutputId(commit.tree)

    def _toolchain(self, ref: ToolchainRef, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if commit.parents or commit.message != TOOLCHAIN_MESSAGE or commit.tree != ref.tree:
            raise Wrong("does not point to the host toolchain in its name")

    def _build(self, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if not {b"build", b"tasks"} <= {entry.name for entry in self.objects.tree(commit.tree)}:
            raise Wrong("does not point to a build")

    def _pin(self, ref: PinRef, oid: Oid) -> None:
        self._build(oid)
        if ref.build != oid:
            raise Wrong("does not point to the build in its name")

    def _single(self, ref: SingleRef, oid: Oid) -> None:
        if ref.name == BUILDS:
            self._build(oid)
            return
        commit = self.objects.commit(oid)
        if commit.parents or commit.message != DEPLOYED_MESSAGE:
            raise Wrong("does not point to a state of the deploy directory")


def run_of(objects: ObjectDatabase, oid: Oid) -> RunRef | None:
    """Return the first tag of the task hash in a task commit's message, None for other objects."""
    try:
        match = _RUN.fullmatch(objects.commit(oid).message)
    except (StoreError, ValueError):
        return None
    if match is None:
        return None
    task_hash = TaskHash(bytes.fromhex(match[3]))
    return RunRef(TaskKey(match[1]), task_hash, 1, failed=match[2] is not None)


def output_commit(commit: Commit) -> Commit:
    """Return the canonical commit of an output's tree."""
    message = commit.message if commit.message in OUTPUT_MESSAGES else OUTPUT_MESSAGE
    return Commit(commit.tree, (), CONSTANT_IDENTITY, message)
