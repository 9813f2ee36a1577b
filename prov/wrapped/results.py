"""Find the recorded result of a command that is valid now.

The inputs of such a run are everything that decided its result, so prov finds the result by the
task hash. The paths that decide are known from earlier runs. A ref by command and environment names
the last run. The fact `earlier-reads` in its record names earlier runs that read other paths.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prov.errors import StoreError
from prov.reads.reads import Reads, decode_reads
from prov.reads.state import States
from prov.records.entries import CHANGES, LOG, READS
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import encode_lines
from prov.records.lookup import Records
from prov.records.output import UNSIGNED_MESSAGE, read_pair
from prov.records.record import Record
from prov.records.refs import RECORDS, DirectoryRef, OutputRef, RecordRef, RunRef, parse_ref
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.wrapped.changes import Changes, decode_changes
from prov.wrapped.record import write_inputs
from prov.wrapped.recorded import recorded_step
from prov.wrapped.step import KEPT_ENVIRONMENT, CommandStep, Ran

EARLIER = "earlier-reads"
"""Fact: runs of the same command that read other paths."""
SHARES = "shares"
"""Fact: `changes` if the output of the run is what it changed."""
TAKEN = "taken-from"
"""Fact: the run whose result was taken."""
COMMAND_ID = "static-key"
"""Fact: the id of command and environment, in hex."""
_MOST_LISTS = 16
"""The maximum number of lists of paths to compare."""
_MOST_FETCHED = 256
"""The maximum number of fetched records to search for lists of paths."""


@dataclass(frozen=True, slots=True)
class CachedCommand:
    """A command as a key of recorded results."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    umask: int
    is_root: bool

    @staticmethod
    def of(command: Sequence[str], environment: Mapping[str, str]) -> CachedCommand:
        """Return a command with the recorded part of an environment, for this process."""
        kept = {name: environment[name] for name in sorted(KEPT_ENVIRONMENT) if name in environment}
        if "jobserver" in kept.get("MAKEFLAGS", ""):
            del kept["MAKEFLAGS"]  # it names open files, which the command does not get
        umask = os.umask(0o077)
        os.umask(umask)
        return CachedCommand(tuple(command), kept, umask, os.geteuid() == 0)

    @property
    def text(self) -> str:
        return shlex.join(self.argv)

    @property
    def process(self) -> str:
        """What decides besides command, environment and files."""
        return f"umask {self.umask:03o}\nroot {str(self.is_root).lower()}\n"

    @property
    def id(self) -> bytes:
        """An id of everything but the files."""
        values = {"command": self.text, "process": self.process, **self.environment}
        return hashlib.sha1(encode_lines(values, "=")).digest()

    def inputs(self, reads: Reads, tied_to: str = "") -> str:
        """Return everything that decides the result besides command and environment.

        `tied_to` is an id of the directory, if the result contains its path.
        """
        rows = tuple(replace(row, programs=()) for row in reads.rows)
        place = f"directory {tied_to}\n" * bool(tied_to)
        return f"{self.process}{place}\n{Reads(rows, reads.opens, reads.probes).encode().decode()}"


def place_id(states: States) -> str:
    """Return an id of the directory of a command."""
    return hashlib.sha1(states.files.directory).hexdigest()


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A recorded result that is valid now."""

    """A recorded result to take."""

    name: str
    """The tag of the run."""
    reads: Reads
    inputs: str
    """Everything that decided it, besides command and environment."""
    log: bytes
    changes: Changes


Paths = tuple[tuple[str, str], ...]
"""The kinds and paths of a list of reads."""


@dataclass(slots=True)
class ResultSearch:
    """Searches the runs of a command for one whose inputs are the same now."""

    store: Store
    command: CachedCommand
    states: States
    place: str
    """The id of the directory."""
    step: CommandStep
    _lists: dict[Paths, RunRef] = field(default_factory=dict)
    """The lists of paths compared so far, each with a run."""
    _pending: list[RunRef] = field(default_factory=list)
    """The runs to search that the last run names."""

    def find(self) -> CachedResult | None:
        """Return a result that is valid now, or None."""
        for run, recorded in self._runs():
            try:
                reads = decode_reads(recorded.text(self.store.objects, READS))
                step = replace(
                    recorded_step(run.key, recorded.facts(self.store.objects)),
                    exclude=self.step.exclude,
                    gitignore=self.step.gitignore,
                )
                result = self._result(run.key, step, reads)
            except StoreError:  # a part was collected, or is from another version
                continue
            if result is not None:
                return result
        return None

    def _runs(self) -> Iterator[tuple[RunRef, Record]]:
        """Yield runs of the command that read different paths."""
        last = self.store.refs.get(str(self.ref))
        if last is not None:
            recorded = Records(self.store).record(last)
            facts = recorded.facts(self.store.objects)
            if recorded.task_hash is not None:
                self._pending.append(RunRef(TaskKey(facts["task"]), recorded.task_hash, 1))
            self._pending += _parse_runs(facts.get(EARLIER, ""))
        yield from self._different(self._pending)
        fetched = self.store.refs.list(f"{RECORDS}{self.step.key.path}/")
        refs = map(parse_ref, list(fetched)[:_MOST_FETCHED])
        yield from self._different([ref.run for ref in refs if isinstance(ref, RecordRef)])

    def _different(self, runs: list[RunRef]) -> Iterator[tuple[RunRef, Record]]:
        """Take the runs from a list, and yield those that read other paths than the ones before."""
        while runs and len(self._lists) < _MOST_LISTS:
            run = runs.pop(0)
            try:
                recorded = self._record(run.key, run.task_hash)
                paths = None if recorded is None else self._paths(recorded)
            except StoreError:  # a part was collected
                continue
            if recorded is not None and paths is not None and paths not in self._lists:
                self._lists[paths] = run
                yield run, recorded

    def _paths(self, recorded: Record) -> Paths | None:
        """Return the list of paths of a run of this command, or None."""
        objects = self.store.objects
        if recorded.facts(objects).get(COMMAND_ID) != self.command.id.hex():
            return None
        return paths_of(decode_reads(recorded.text(objects, READS)))

    def _record(self, key: TaskKey, task_hash: TaskHash) -> Record | None:
        """Return the record of the last run of a task hash."""
        records = Records(self.store)
        number, commit = records.last_run(key, task_hash)
        oid = commit or self.store.refs.get(str(RecordRef(key, task_hash, number)))
        return None if oid is None else records.record(oid)

    @property
    def ref(self) -> DirectoryRef:
        """The ref of the last run of the command."""
        return DirectoryRef(self.command.id)

    def _result(self, key: TaskKey, step: CommandStep, reads: Reads) -> CachedResult | None:
        """Return the result for the present states of the paths in a list, or None."""
        now = self._now(reads)
        if now is None:
            return None
        for place in ("", self.place):
            inputs = self.command.inputs(now, place)
            with self.store.objects.writer(memory=True) as writer:
                ran = Ran(self.command.text, environment=self.command.environment, decisive=inputs)
                task_hash = write_inputs(writer, step, None, ran, None)
            result = self._recorded(key, task_hash, inputs)
            if result is not None:
                return result
        return None

    def _now(self, reads: Reads) -> Reads | None:
        rows = []
        for row in reads.rows:
            try:
                state = self.states.state(self.states.files.path_of(row.path), row.kinds)
            except OSError:
                return None
            rows.append(replace(row, state=state))
        return replace(reads, rows=tuple(rows))

    def _recorded(self, key: TaskKey, task_hash: TaskHash, inputs: str) -> CachedResult | None:
        """Return the recorded result of a task hash, or None if it cannot be taken."""
        objects, records = self.store.objects, Records(self.store)
        output = self.store.refs.get(str(OutputRef(key, task_hash)))
        if output is None or objects.commit(output).message == UNSIGNED_MESSAGE:
            return None
        number, commit = records.last_run(key, task_hash)
        record = self._record(key, task_hash)
        if record is None or not {CHANGES, LOG, READS} <= record.parts.keys():
            return None
        pair = self._pair(commit, record)
        if pair is None:
            return None
        changes = decode_changes(objects, record.text(objects, CHANGES), pair)
        if any(self.states.files.is_excluded(path) for path in changes):
            return None
        name = RunRef(key, task_hash, number).tag
        reads = decode_reads(record.text(objects, READS))
        return CachedResult(name, reads, inputs, record.log(objects), changes)

    def _pair(self, commit: CommitId | None, record: Record) -> Pair | None:
        """Return a state with the changed entries of a run; None if it is not in the store."""
        objects = self.store.objects
        if commit is not None:
            return Records(self.store).workdir(commit)
        if record.output is not None and record.facts(objects).get(SHARES):
            return read_pair(objects, record.output)
        return None

    def earlier(self, paths: Paths) -> str:
        """Return the fact that names runs which read other paths than these."""
        runs = [run for listed, run in self._lists.items() if listed != paths]
        runs += self._pending
        return " ".join(f"{run.key}/{run.task_hash.hex()}" for run in runs[: _MOST_LISTS - 1])


def paths_of(reads: Reads) -> Paths:
    """Return the kinds and paths of a list."""
    return tuple((row.kinds, row.path) for row in reads.rows)


def _parse_runs(text: str) -> list[RunRef]:
    """Return the runs that the fact `earlier-reads` names."""
    runs = []
    for word in text.split():
        key, _, digits = word.rpartition("/")
        runs.append(RunRef(TaskKey(key), TaskHash(bytes.fromhex(digits)), 1))
    return runs
