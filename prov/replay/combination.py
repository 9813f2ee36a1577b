"""Builds that never were: recorded tasks with some of one build's inputs and some of another's.

A change of an input is a step from one build's tasks to the other's. With some of the changes, and
what they lead to, a graph comes out that is planned and run as any other: what is recorded under
its hashes is not built again, and what is built is recorded under them.
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
from prov.scheduler.plan import Action, Choices, Plan, make_plan
from prov.scheduler.run import Runner
from prov.scheduler.summary import Progress, RunOptions, Summary
from prov.store.objects import Entry, Oid
from prov.store.repository import Store
from prov.tasks.definition import Definition
from prov.tasks.job import Composer, Site
from prov.tasks.recorded import (
    Named,
    OwnEntries,
    RecordedInputs,
    RecordedTask,
    graph_of,
    make_node,
    own_inputs,
)
from prov.tasks.taskhash import HashOnly, LocalFile, task_text
from prov.tasks.toolchain import Toolchains
from prov.worktree.attributes import TreeReader, TreeWriter

TOOLS: Named = ("host tools", "")
DEFINITION: Named = ("definition", "")
ORDER: Named = ("source", "%order")


@dataclass(frozen=True, slots=True)
class InputStep:
    """One input of some tasks as the other build has it; `new` is None where that has none of the
    name.
    """

    kind: str
    name: str
    new: Entry | None
    tasks: tuple[str, ...]


def mixture(
    store: Store,
    old: Mapping[TaskKey, RecordedTask],
    new: Mapping[TaskKey, RecordedTask],
    steps: Iterable[InputStep],
) -> dict[TaskKey, RecordedTask]:
    """Return the old build's tasks with some steps to the new one's; tasks that only one of them
    has are kept.
    """
    chosen: dict[str, list[InputStep]] = {}
    for step in steps:
        for key in step.tasks:
            chosen.setdefault(key, []).append(step)
    moved = {key for key, each in chosen.items() if any(step.kind == "definition" for step in each)}
    found = {**new, **old}
    with store.objects.writer() as writer:
        for key in old.keys() & new.keys():
            if key in chosen or moved.intersection(old[key].definition.needs):
                found[key] = _Mixed(
                    store.objects, writer, old[key], new[key], chosen.get(key, []), moved
                ).make()
    return found


@dataclass(slots=True)
class _Mixed:
    """One task of a mixture."""

    reader: TreeReader
    sink: TreeWriter
    old: RecordedTask
    new: RecordedTask
    steps: list[InputStep]
    moved: set[str]
    """Tasks whose own words are the new build's: where their output goes is told by these."""

    def make(self) -> RecordedTask:
        """Return the old task with the steps made. What is in no hash goes with what is hashed."""
        own: dict[Named, Entry] = dict(self.old.own)
        for step in self.steps:
            if step.kind == "dependency":
                continue
            if step.new is not None:
                own[step.kind, step.name] = step.new
            else:
                own.pop((step.kind, step.name), None)
        redefined = self.old.key in self.moved
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
        chosen = {step.name for step in self.steps if step.kind == "dependency"}
        found = [key for key in old if key in new or f"{kind} {key}" not in chosen]
        found += [key for key in new if key not in old and f"{kind} {key}" in chosen]
        return new if set(found) == set(new) else tuple(found)

    def all_edges_are_new(self, words: Definition) -> bool:
        new = self.new.definition
        chosen = any(step.kind == "dependency" for step in self.steps)
        return chosen and (words.after, words.from_, words.needs) == (
            new.after,
            new.from_,
            new.needs,
        )

    def staged(self, task: RecordedTask, *, like_new: bool) -> RecordedTask:
        """Return a task that says of all that it needs where it goes, as the build does from which
        it has it.
        """
        lines, direct = [], []
        for key in task.definition.needs:
            first = like_new or key in self.moved
            side = next(
                each.definition
                for each in ((self.new, self.old) if first else (self.old, self.new))
                if key in each.definition.needs
            )
            lines += [text for text in side.staging if text.partition(" ")[0] == key]
            direct += [key] if key in side.direct else []
        if sorted(lines) == sorted(task.definition.staging):
            return task
        words = replace(task.definition, staging=tuple(lines), direct=tuple(direct))
        text = task_text(make_node(self.reader, replace(task, definition=words)))
        oid = self.sink.add("blob", text.encode("utf-8", "surrogateescape"))
        own = {**task.own, DEFINITION: task.own[DEFINITION]._replace(oid=oid)}
        return replace(task, definition=words, own=own)

    def files(self, kind: str, own: OwnEntries) -> tuple[LocalFile, ...]:
        """Return the files behind sources or patches, of the build that has the same."""
        found: dict[str, LocalFile] = {}
        for task in (self.old, self.new):
            for file in task.definition.sources if kind == "source" else task.definition.patches:
                if (kind, file.name) in own and own[kind, file.name] == task.own.get(
                    (kind, file.name)
                ):
                    found[file.name] = file
        return tuple(found.values())

    def source_rows(self, own: OwnEntries) -> list[dict[str, Any]]:
        """Return what `SOURCES` says of the sources that the task has: where to fetch just
        these.
        """
        found: dict[str, dict[str, Any]] = {}
        first, last = self.old, self.new
        if own.get(ORDER) != self.old.own.get(ORDER):
            first, last = last, first
        for task in (first, last):
            for row in json.loads(task.definition.excluded.get("SOURCES", "[]")):
                name = row["name"]
                if ("source", name) in own and own["source", name] == task.own.get(
                    ("source", name)
                ):
                    found[name] = {**row, "unpack": ("source", f"%{name}.unpack") not in own}
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where mixtures are built."""

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
        """Build a target of a mixture; return its output, None if that failed, and how it went.

        `outputs` says which output stands for a task hash that led to several. Raises ProvError for
        what keeps it from being planned.
        """
        objects = self.store.objects
        graph = graph_of(objects, tasks, [target])
        nodes = {key: tasks[key] for key in graph.nodes}
        own = {key: own_inputs(objects, HashOnly(), task) for key, task in nodes.items()}
        askers = {each.toolchain: key for key, each in own.items()}
        for toolchain, key in askers.items() if self.sandbox is None else ():
            self.toolchains.check_current(toolchain, key)
        site = self._site(nodes)
        records = _Chosen(self.store, site.place_in(graph), chosen=dict(outputs or {}))
        plan = make_plan(graph, own, records, Choices(), lambda _key: None)
        keep_apart(plan, records)
        runner = Runner.of(site, plan, self.toolchains, progress, self.options, records=records)
        summary = runner.run(record=False)
        settled = summary.settled.get(target)
        output = settled.output if settled else plan.steps[target].output
        return (output if summary.ok else None), summary

    def _site(self, tasks: Mapping[TaskKey, RecordedTask]) -> Site:
        return Site(
            store=self.store,
            inputs=RecordedInputs(self.store.objects, tasks),
            sysroots=self.sysroots,
            work=self.folder / "work",
            sandbox=self.sandbox,
            alias=self.folder.name,
        )


@dataclass(slots=True)
class _Chosen(Records):
    """Records in which it is said which output stands for a task hash that led to several."""

    chosen: Mapping[tuple[TaskKey, TaskHash], OutputId] = field(default_factory=dict)

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        recorded = Records.output(self, key, task_hash)
        return None if recorded is None else self.chosen.get((key, task_hash), recorded)

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None:
        """Return nothing: what was last recorded under a static key may stand on other outputs than
        are chosen.
        """
        return None

    def odd(self, key: TaskKey, task_hash: TaskHash | None) -> bool:
        """Tell whether another output stands for a task than is recorded."""
        return task_hash is not None and self.output(key, task_hash) != Records.output(
            self, key, task_hash
        )


def keep_apart(plan: Plan, records: _Chosen) -> None:
    """Let what stands on chosen outputs leave no static keys: these tell what comes of the outputs
    that are recorded.

    It is as with what is kept although stale.
    """
    apart: set[str] = set()
    for key, node in plan.graph.nodes.items():
        step = plan.steps[key]
        if apart.intersection(node.edges) or records.odd(key, step.task_hash):
            apart.add(key)
            if step.action in (Action.UP_TO_DATE, Action.RESTORE):
                step.action = Action.STALE
