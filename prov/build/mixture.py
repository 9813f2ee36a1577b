"""Builds that never were: recorded tasks with some of one build's inputs and some of another's.

A change of an input is a step from one build's tasks to the other's. With some of the changes, and what they lead to,
a graph comes out that is planned and run as any other: what is recorded under its hashes is not built again, and what
is built is recorded under them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.build.job import Composer, Site
from prov.build.plan import Choices, make_plan
from prov.build.record import Records
from prov.build.recorded import Named, RecordedInputs, RecordedTask, graph_of, mixed, own_inputs
from prov.build.run import Progress, Runner, RunOptions, Summary
from prov.build.taskhash import HashOnly
from prov.build.toolchain import Toolchains
from prov.store.objects import Entry, Oid
from prov.store.repository import Store
from prov.worktree.exclude import DEFAULT, Exclude


@dataclass(frozen=True, slots=True)
class InputStep:
    """One input of some tasks as the other build has it; `new` is None where that has none of the name."""

    kind: str
    name: str
    new: Entry | None
    tasks: tuple[str, ...]


EDGE_KINDS = ("dependency", "definition")
"""Changes with which a task gets the other build's definition, edges and all."""


def mixture(
    old: Mapping[str, RecordedTask], new: Mapping[str, RecordedTask], steps: Iterable[InputStep]
) -> dict[str, RecordedTask]:
    """Return the old build's tasks with some steps to the new one's; tasks that only one of them has are kept."""
    chosen: dict[str, list[InputStep]] = {}
    for step in steps:
        for key in step.tasks:
            chosen.setdefault(key, []).append(step)
    found = {**new, **old}
    for key, changes in chosen.items():
        if key in old and key in new:
            found[key] = _mixed(old[key], new[key], changes)
    return found


def _mixed(old: RecordedTask, new: RecordedTask, steps: list[InputStep]) -> RecordedTask:
    own: dict[Named, Entry] = dict(old.own)
    redefined = any(step.kind in EDGE_KINDS for step in steps)
    for step in steps:
        name = (step.kind, step.name)
        if step.kind in EDGE_KINDS:
            continue
        if step.new is not None:
            own[name] = step.new
        else:
            own.pop(name, None)
    if redefined:
        own["definition", ""] = new.own["definition", ""]
    return mixed(old, new, own, definition=new if redefined else old)


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
        tasks: Mapping[str, RecordedTask],
        target: str,
        progress: Progress,
        *,
        outputs: Mapping[tuple[str, Oid], Oid] | None = None,
    ) -> tuple[Oid | None, Summary]:
        """Build a target of a mixture; return its output, None if that failed, and how it went.

        `outputs` says which output stands for a task hash that led to several. Raises ProvError for what keeps it from
        being planned.
        """
        objects = self.store.objects
        graph = graph_of(objects, tasks, [target])
        nodes = {key: tasks[key] for key in graph.nodes}
        own = {key: own_inputs(objects, HashOnly(), task) for key, task in nodes.items()}
        site = self._site(nodes)
        records = _Chosen(self.store, site.place_in(graph), chosen=dict(outputs or {}))
        plan = make_plan(graph, own, records, Choices(), lambda _key: None)
        runner = Runner(site, plan, self.toolchains, progress, self.options)
        runner.records = records
        summary = runner.run(record=False)
        settled = summary.settled.get(target)
        output = settled.output if settled else plan.steps[target].output
        return (output if summary.ok else None), summary

    def _site(self, tasks: Mapping[str, RecordedTask]) -> Site:
        texts = dict.fromkeys(
            self.store.objects.blob(entry.oid).decode("utf-8", "surrogateescape")
            for task in tasks.values()
            for (kind, _), entry in task.own.items()
            if kind == "capture settings"
        )
        rows = [line.partition(" ") for text in texts for line in text.splitlines()]
        return Site(
            store=self.store,
            inputs=RecordedInputs(self.store.objects, tasks),
            sysroots=self.sysroots,
            work=self.folder / "work",
            sandbox=self.sandbox,
            exclude=Exclude([*DEFAULT, *(value for what, _, value in rows if what == "exclude")]),
            xattrs=tuple(value for what, _, value in rows if what == "xattr"),
            alias=self.folder.name,
        )


@dataclass(slots=True)
class _Chosen(Records):
    """Records in which it is said which output stands for a task hash that led to several."""

    chosen: Mapping[tuple[str, Oid], Oid] = field(default_factory=dict)

    def output(self, key: str, task_hash: Oid) -> Oid | None:
        known = self.chosen.get((key, task_hash))
        return known if known is not None else Records.output(self, key, task_hash)
