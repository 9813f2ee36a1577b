"""Read the recorded tasks that a target was made by, and the edges between them.

A task is named by its key and its task hash. The build states which run of a task hash it used; for
a hash that the build does not list, the first run counts. Of a task that was deleted, or that ran
on a different machine, the store may have only the record, the inputs or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.errors import StoreError
from prov.history.inputs import Inputs, read_inputs
from prov.history.producers import Producers
from prov.reads.reads import Reads, decode_reads
from prov.records.build_list import BuildList
from prov.records.entries import READS
from prov.records.ids import CommitId, OutputId, TaskHash, TreeId, Unihash
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import Record, read_run_record, read_task_commit
from prov.records.refs import RunRef
from prov.store.repository import Store
from prov.tasks.definition import Definition, read_definition
from prov.worktree.attributes import EMPTY, Pair


class TaskId(NamedTuple):
    """A task with particular inputs."""

    key: TaskKey
    task_hash: TaskHash


class TaskInput(NamedTuple):
    """An edge to a task whose result a task used."""

    kind: str
    """`after`, `from` or `needs`."""
    task: TaskId
    output: OutputId | None
    """The output that it used; None for `after`, which continues in the WORKDIR."""


@dataclass(frozen=True, slots=True)
class GraphRun:
    """A task in the graph, with the parts of its run that the store has."""

    id: TaskId
    tag: str = ""
    """Empty if no run is recorded here."""
    commit: CommitId | None = None
    """The commit of the WORKDIR; None if the store has only the record or nothing."""
    record: Record | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    inputs: Inputs | None = None
    edges: tuple[TaskInput, ...] = ()
    unknown: tuple[TaskKey, ...] = ()
    """Tasks behind it, or itself, of which the store has no record."""

    @property
    def key(self) -> TaskKey:
        return self.id.key


@dataclass(slots=True)
class TaskGraph:
    """The tasks behind a build's targets, read on demand."""

    store: Store
    build: BuildList
    _runs: dict[TaskId, GraphRun] = field(default_factory=dict)
    _outputs: dict[TaskId, Pair] = field(default_factory=dict)
    _producers: Producers | None = None

    def target(self, key: TaskKey) -> GraphRun | None:
        """Return a task of the build, or None."""
        line = self.build.line(key)
        return self.run(TaskId(key, line.task_hash)) if line is not None else None

    def run(self, task: TaskId) -> GraphRun:
        """Return a task's run."""
        if task not in self._runs:
            self._runs[task] = self._read(task)
        return self._runs[task]

    def behind(self, targets: list[GraphRun]) -> list[GraphRun]:
        """Return the targets and all tasks that they depend on, in the order of their names."""
        pending, visited = list(targets), {run.id for run in targets}
        runs = list(targets)
        while pending:
            for edge in pending.pop().edges:
                if edge.task not in visited:
                    visited.add(edge.task)
                    runs.append(self.run(edge.task))
                    pending.append(runs[-1])
        return sorted(runs, key=lambda run: run.id)

    def output(self, run: GraphRun) -> Pair:
        """Return a run's output; empty if the store does not have it."""
        if run.id not in self._outputs:
            self._outputs[run.id] = self._read_output(run)
        return self._outputs[run.id]

    def _read_output(self, run: GraphRun) -> Pair:
        output = run.record.result if run.record is not None else None
        if output is None:
            line = self.build.line(run.key)
            output = line.output if line and line.task_hash == run.id.task_hash else None
        if output is None or not self.store.objects.exists(output):
            return EMPTY
        return read_pair(self.store.objects, output)

    def workdir(self, run: GraphRun) -> Pair:
        """Return the WORKDIR after a run; its output if the WORKDIR is not recorded."""
        if run.commit is None:
            return self.output(run)
        return Pair(self.store.objects.commit(run.commit).tree, None)

    def start(self, run: GraphRun) -> TreeId | None:
        """Return the tree of the WORKDIR before a run, None if it is not recorded."""
        if run.commit is None:
            return None
        before = read_task_commit(self.store.objects, run.commit).before
        return TreeId(self.store.objects.commit(before).tree)

    def reads(self, run: GraphRun) -> Reads | None:
        """Return the list of what a run read, None if it is not recorded."""
        data = run.record.text(self.store.objects, READS) if run.record else b""
        return decode_reads(data) if data else None

    def definition(self, run: GraphRun) -> Definition | None:
        """Return the definition of a recipe's task, None for others."""
        if run.record is None or not run.record.is_recipes:
            return None
        return read_definition(run.record.definition(self.store.objects), run.key)

    def _read(self, task: TaskId) -> GraphRun:
        objects = self.store.objects
        tag, commit, recorded = self._recorded(task)
        record = read_run_record(objects, recorded) if recorded is not None else None
        try:
            inputs = read_inputs(objects, task.key, task.task_hash)
        except StoreError:  # collected, or never fetched
            inputs = None
        edges, unknown = self._edges(inputs) if inputs is not None else ((), (task.key,))
        facts = record.facts(objects) if record is not None else {}
        return GraphRun(task, tag, commit, record, facts, inputs, edges, unknown)

    def _recorded(self, task: TaskId) -> tuple[str, CommitId | None, CommitId | None]:
        """Return a run's tag, its commit, and the commit with its record."""
        line = self.build.line(task.key)
        number = line.run if line is not None and line.task_hash == task.task_hash else 0
        # a hash that the build does not list: not the last run, which later reruns change
        ref = RunRef(task.key, task.task_hash, number or 1)
        commit = self.store.refs.get(str(ref))
        if commit is not None:
            return ref.tag, CommitId(commit), CommitId(commit)
        record = self.store.refs.get(str(ref.record))
        if record is None:
            return "", None, None
        return ref.tag, None, CommitId(record)

    def _edges(self, inputs: Inputs) -> tuple[tuple[TaskInput, ...], tuple[TaskKey, ...]]:
        """Return the edges of a task, and the tasks at the other edges, which are not recorded."""
        edges, unknown = [], set()
        for (kind, key), oid in sorted(inputs.edges.items()):
            if oid is None:
                continue
            is_hash = kind == "after" and not isinstance(oid, Unihash)
            task_hash = TaskHash(oid) if is_hash else self._producer(key, oid)
            if task_hash is None:
                unknown.add(key)
                continue
            output = None if kind == "after" or isinstance(oid, Unihash) else OutputId(oid)
            edges.append(TaskInput(kind, TaskId(key, task_hash), output))
        return tuple(edges), tuple(sorted(unknown))

    def _producer(self, key: TaskKey, output: OutputId | Unihash | TaskHash) -> TaskHash | None:
        if self._producers is None:
            self._producers = Producers(self.store, (self.build,))
        used = output if isinstance(output, Unihash) else OutputId(output)
        return self._producers.hash_of(key, used)
