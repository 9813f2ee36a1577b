"""Combine two builds: recorded tasks with some inputs of one build and some of the other.

A step changes one input of a task from one build's version to the other's. The tasks with some
steps form a graph. prov plans and runs it like any other: outputs recorded under its hashes are
reused, and new outputs are recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.own_entries import Named, OwnEntries
from prov.scheduler.plan import Action, Choices, Plan, make_plan
from prov.scheduler.run import Runner
from prov.scheduler.summary import Progress, RunOptions, Summary
from prov.store.objects import Entry, Oid
from prov.store.repository import Store
from prov.tasks.definition import Definition
from prov.tasks.job import Composer, Workspace
from prov.tasks.recorded import RecordedInputs, RecordedTask, graph_of, make_node, own_inputs
from prov.tasks.taskhash import HashOnly, LocalFile, task_text
from prov.tasks.toolchain import Toolchains
from prov.worktree.attributes import TreeReader, TreeWriter

TOOLS: Named = ("host tools", "")
DEFINITION: Named = ("definition", "")
ORDER: Named = ("source", "%order")


@dataclass(frozen=True, slots=True)
class InputStep:
    """A changed input of some tasks. `new` is its entry in the other build, None if removed."""

    kind: str
    name: str
    new: Entry | None
    tasks: tuple[str, ...]


def combine(
    store: Store,
    old: Mapping[TaskKey, RecordedTask],
    new: Mapping[TaskKey, RecordedTask],
    steps: Iterable[InputStep],
) -> dict[TaskKey, RecordedTask]:
    """Return the old build's tasks after some steps to the new build.

    Tasks that only one build has are included.
    """
    steps_of: dict[str, list[InputStep]] = {}
    for step in steps:
        for key in step.tasks:
            steps_of.setdefault(key, []).append(step)
    redefined = {key for key, taken in steps_of.items() if _redefines(taken)}
    tasks = {**new, **old}
    with store.objects.writer() as writer:
        for key in old.keys() & new.keys():
            if key in steps_of or redefined.intersection(old[key].definition.needs):
                own = steps_of.get(key, [])
                combined = _Combined(store.objects, writer, old[key], new[key], own, redefined)
                tasks[key] = combined.task()
    return tasks


def _redefines(steps: Iterable[InputStep]) -> bool:
    return any(step.kind == "definition" for step in steps)


@dataclass(slots=True)
class _Combined:
    """One task of a combination."""

    reader: TreeReader
    sink: TreeWriter
    old: RecordedTask
    new: RecordedTask
    steps: list[InputStep]
    redefined: set[str]
    """Tasks with the definition of the new build, which sets the destination of their output."""

    def task(self) -> RecordedTask:
        """Return the old task after the steps. Unhashed values follow the hashed ones."""
        own: dict[Named, Entry] = dict(self.old.own)
        for step in self.steps:
            if step.kind == "dependency":
                continue
            if step.new is not None:
                own[step.kind, step.name] = step.new
            else:
                own.pop((step.kind, step.name), None)
        redefined = self.old.key in self.redefined
        base, other = (self.new, self.old) if redefined else (self.old, self.new)
        tools = self.new if own.get(TOOLS) == self.new.own.get(TOOLS) else self.old
        excluded = {**other.definition.excluded, **base.definition.excluded}
        if "SOURCES" in excluded:
            excluded["SOURCES"] = json.dumps(self.source_rows(own))
        words = replace(
            base.definition,
            after=self.edges("after", self.old.definition.after, self.new.definition.after),
            from_=self.edges("from", self.old.definition.from_, self.new.definition.from_),
            needs=self.edges("needs", self.old.definition.needs, self.new.definition.needs),
            excluded=excluded,
            programs=tools.definition.programs,
            sources=self.files("source", own),
            patches=self.files("patch", own),
        )
        task = replace(base, own=own, definition=words, commit=None)
        return self.staged(task, like_new=redefined or self.all_edges_are_new(words))

    def edges(self, kind: str, old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
        """Return the old edges of a kind, after the steps that add or remove edges."""
        changed = {step.name for step in self.steps if step.kind == "dependency"}
        edges = [key for key in old if key in new or f"{kind} {key}" not in changed]
        edges += [key for key in new if key not in old and f"{kind} {key}" in changed]
        return new if set(edges) == set(new) else tuple(edges)

    def all_edges_are_new(self, words: Definition) -> bool:
        """Return whether the steps result in the edges of the new build."""
        new = self.new.definition
        chosen = any(step.kind == "dependency" for step in self.steps)
        return chosen and (words.after, words.from_, words.needs) == (
            new.after,
            new.from_,
            new.needs,
        )

    def staged(self, task: RecordedTask, *, like_new: bool) -> RecordedTask:
        """Return a task with the destination of each needed output from the build with the edge."""
        lines, direct = [], []
        for key in task.definition.needs:
            side = self.side_with(key, new_first=like_new or key in self.redefined)
            lines += [text for text in side.staging if text.partition(" ")[0] == key]
            direct += [key] if key in side.direct else []
        if sorted(lines) == sorted(task.definition.staging):
            return task
        words = replace(task.definition, staging=tuple(lines), direct=tuple(direct))
        text = task_text(make_node(self.reader, replace(task, definition=words)))
        oid = self.sink.add("blob", text.encode("utf-8", "surrogateescape"))
        own = {**task.own, DEFINITION: task.own[DEFINITION]._replace(oid=oid)}
        return replace(task, definition=words, own=own)

    def side_with(self, key: str, *, new_first: bool) -> Definition:
        """Return the definition, of either build, that needs a task."""
        sides = (self.new, self.old) if new_first else (self.old, self.new)
        return next(side.definition for side in sides if key in side.definition.needs)

    def files(self, kind: str, own: OwnEntries) -> tuple[LocalFile, ...]:
        """Return the files of sources or patches, each from a build with the same content."""
        files: dict[str, LocalFile] = {}
        for task in (self.old, self.new):
            definition = task.definition
            for file in definition.sources if kind == "source" else definition.patches:
                if _is_same(own, task, (kind, file.name)):
                    files[file.name] = file
        return tuple(files.values())

    def source_rows(self, own: OwnEntries) -> list[dict[str, Any]]:
        """Return the rows of `SOURCES` (where to fetch a source) for the task's sources."""
        rows: dict[str, dict[str, Any]] = {}
        first, last = self.old, self.new
        if own.get(ORDER) != self.old.own.get(ORDER):
            first, last = last, first
        for task in (first, last):
            for row in json.loads(task.definition.excluded.get("SOURCES", "[]")):
                name = row["name"]
                if _is_same(own, task, ("source", name)):
                    rows[name] = {**row, "unpack": ("source", f"%{name}.unpack") not in own}
        return list(rows.values())


def _is_same(own: OwnEntries, task: RecordedTask, name: Named) -> bool:
    """Return whether an input exists and equals that of a recorded task."""
    return name in own and own[name] == task.own.get(name)


@dataclass(frozen=True, slots=True)
class Workshop:
    """The environment in which combinations are built."""

    store: Store
    sysroots: Composer
    sandbox: str | None
    toolchains: Toolchains
    folder: Path
    options: RunOptions

    def build(
        self,
        tasks: Mapping[TaskKey, RecordedTask],
        target: TaskKey,
        progress: Progress,
        *,
        outputs: Mapping[tuple[TaskKey, TaskHash], OutputId] | None = None,
    ) -> tuple[Oid | None, Summary]:
        """Build a target of a combination; return its output, or None on failure, and the summary.

        `outputs` selects the output of a task hash that has several. Raises ProvError if the build
        cannot be planned.
        """
        objects = self.store.objects
        graph = graph_of(objects, tasks, [target])
        nodes = {key: tasks[key] for key in graph.nodes}
        own = {key: own_inputs(objects, HashOnly(), task) for key, task in nodes.items()}
        users = {inputs.toolchain: key for key, inputs in own.items()}
        for toolchain, key in users.items() if self.sandbox is None else ():
            self.toolchains.check_current(toolchain, key)
        workspace = self._workspace(nodes)
        records = _Chosen(self.store, workspace.place_in(graph), chosen=dict(outputs or {}))
        plan = make_plan(graph, own, records, Choices(), lambda _key: None)
        keep_apart(plan, records)
        runner = Runner.of(
            workspace, plan, self.toolchains, progress, self.options, records=records
        )
        summary = runner.run(record=False)
        settled = summary.settled.get(target)
        output = settled.output if settled else plan.steps[target].output
        return (output if summary.ok else None), summary

    def _workspace(self, tasks: Mapping[TaskKey, RecordedTask]) -> Workspace:
        return Workspace(
            store=self.store,
            inputs=RecordedInputs(self.store.objects, tasks),
            sysroots=self.sysroots,
            work=self.folder / "work",
            sandbox=self.sandbox,
            alias=self.folder.name,
        )


@dataclass(slots=True)
class _Chosen(Records):
    """Records with a selected output for each task hash that has several."""

    chosen: Mapping[tuple[TaskKey, TaskHash], OutputId] = field(default_factory=dict)

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        recorded = Records.output(self, key, task_hash)
        return None if recorded is None else self.chosen.get((key, task_hash), recorded)

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None:
        """Return None: a static key's output may depend on outputs that are not selected."""
        return None

    def differs(self, key: TaskKey, task_hash: TaskHash | None) -> bool:
        """Return whether the selected output of a task differs from the recorded one."""
        return task_hash is not None and self.output(key, task_hash) != Records.output(
            self, key, task_hash
        )


def keep_apart(plan: Plan, records: _Chosen) -> None:
    """Prevent tasks that depend on selected outputs from recording static keys.

    A static key stands for the result of the recorded outputs. The tasks are planned like kept
    stale tasks.
    """
    apart: set[str] = set()
    for key, node in plan.graph.nodes.items():
        step = plan.steps[key]
        if apart.intersection(node.edges) or records.differs(key, step.task_hash):
            apart.add(key)
            if step.action in (Action.UP_TO_DATE, Action.RESTORE):
                step.action = Action.STALE
