"""Report a build: progress while it runs, a summary at its end, and a record in the history."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from prov.errors import RecipeError
from prov.recipes.variables import expand
from prov.records.build_list import ABOUT, BuildList, Line, Span, record_build
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import encode_lines
from prov.records.lookup import Records
from prov.records.outcomes import Outcome
from prov.records.run import author
from prov.scheduler.plan import Plan
from prov.scheduler.tracing import TracedTasks
from prov.tasks.job import Result, Workspace

COUNTED = (
    Outcome.RAN,
    Outcome.RESTORED,
    Outcome.FETCHED,
    Outcome.CUT_OFF,
    Outcome.STALE,
)
"""The outcomes counted in the record of a build; failures are counted separately."""


class Progress(Protocol):
    """Receives a build's progress; the command line shows it."""

    def planned(self, total: int) -> None: ...

    def started(self, key: TaskKey, place: str) -> None:
        """A task starts; `place` names the machine that runs it, "" for this one."""

    def finished(
        self, key: TaskKey, what: str, done: int, total: int, result: Result | None
    ) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to carry out a plan."""

    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    keep_going: bool = False
    traced: TracedTasks = field(default_factory=TracedTasks)


@dataclass(slots=True)
class Settled:
    """A finished task: its outcome (`what`) and its result."""

    key: TaskKey
    what: Outcome
    task_hash: TaskHash | None
    output: OutputId | None
    commit: CommitId | None = None
    number: int = 0


@dataclass(slots=True)
class Summary:
    """A finished build."""

    settled: dict[TaskKey, Settled]
    failed: list[Result]
    not_built: list[TaskKey]
    """Targets that could not be built because a dependency failed."""
    seconds: float = 0.0
    script_seconds: float = 0.0
    """Total time of the tasks' scripts."""
    own_seconds: float = 0.0
    """Total time of prov's own work in the workers."""
    added: int = 0
    commit: CommitId | None = None
    interrupted: bool = False
    spans: list[tuple[TaskKey, float, float]] = field(default_factory=list)
    """Task, start and end (seconds since the epoch) of each run."""
    added_by: dict[TaskKey, int] = field(default_factory=dict)
    """Task -> bytes added to the store."""

    def count(self, what: str) -> int:
        return sum(1 for settled in self.settled.values() if settled.what == what)

    @property
    def ok(self) -> bool:
        return not self.failed and not self.not_built and not self.interrupted

    @property
    def result(self) -> str:
        """`ok`, `failed` or `interrupted`, as recorded."""
        if self.ok:
            return "ok"
        return "interrupted" if self.interrupted else "failed"


def record_summary(
    workspace: Workspace, plan: Plan, records: Records, summary: Summary, begun: float, jobs: int
) -> CommitId:
    """Append a finished build to the history; return its commit.

    `begun` is in seconds since the epoch.
    """
    ran = {key for key, _, _ in summary.spans} | {result.key for result in summary.failed}
    return record_build(
        workspace.store,
        _lines(workspace, plan, records, summary),
        _happened(plan, summary),
        _facts(workspace, plan, summary, jobs),
        author(begun),
        timeline=[
            Span(key, began - begun, ended - began, summary.added_by.get(key, 0))
            for key, began, ended in summary.spans
        ],
        versions={node.recipe.name: node.recipe.version for node in plan.graph.nodes.values()},
        reasons={step.key: step.reason for step in plan.work if step.key in ran},
        more=_about(plan),
    )


def _about(plan: Plan) -> dict[str, dict[str, bytes]]:
    """Return the folder of texts that recipes state about themselves; none if all are silent.

    A variable that cannot be expanded stays as it is written: a build is recorded in any case.
    """
    texts = {}
    for recipe in {node.recipe.name: node.recipe for node in plan.graph.nodes.values()}.values():
        values = dict(recipe.metadata)
        for name, value in values.items():
            with suppress(RecipeError):
                values[name] = expand(value, recipe.variables, where=str(recipe.path))
        if values:
            texts[recipe.name] = encode_lines(values, " ")
    return {ABOUT: texts} if texts else {}


def _lines(workspace: Workspace, plan: Plan, records: Records, summary: Summary) -> list[Line]:
    """Return the state of each task with an output after the build."""
    last = BuildList.latest_of_tasks(workspace.store)
    lines = []
    for step in plan.steps.values():
        settled = summary.settled.get(step.key) or Settled(step.key, Outcome.UP_TO_DATE, None, None)
        task_hash = settled.task_hash or step.task_hash
        output = settled.output or step.output
        if task_hash is None or output is None:
            continue
        number = settled.number or _last_number(last, records, step.key, task_hash)
        lines.append(Line(step.key, task_hash, output, number))
    return lines


def _last_number(
    last: BuildList | None, records: Records, key: TaskKey, task_hash: TaskHash
) -> int:
    """Return the number of the run that produced a task's result.

    Take it from the last build if that had the same hash.
    """
    line = last.line(key) if last else None
    if line is not None and line.task_hash == task_hash and line.run:
        return line.run
    return records.last_run(key, task_hash)[0]


def _happened(plan: Plan, summary: Summary) -> dict[TaskKey, str]:
    """Return the outcome of each task, except for tasks that were up to date."""
    outcomes: dict[TaskKey, str] = {
        settled.key: settled.what
        for settled in summary.settled.values()
        if settled.what != Outcome.UP_TO_DATE
    }
    outcomes |= {step.key: Outcome.NOT_BUILT for step in plan.work if step.key not in outcomes}
    failures = {
        result.key: f"{Outcome.FAILED} {result.task_hash.hex()}" for result in summary.failed
    }
    return outcomes | failures


def _facts(workspace: Workspace, plan: Plan, summary: Summary, jobs: int) -> dict[str, str]:
    """Return the recorded facts about the build as a whole."""
    counts = {what.replace(" ", "-"): str(summary.count(what)) for what in COUNTED}
    return {
        "targets": " ".join(plan.graph.targets),
        "result": summary.result,
        "seconds": f"{summary.seconds:.3f}",
        "script-seconds": f"{summary.script_seconds:.3f}",
        "own-seconds": f"{summary.own_seconds:.3f}",
        "host": socket.gethostname(),
        "sandbox": "bwrap" if workspace.sandbox else "none",
        "jobs": str(jobs),
        "added": str(summary.added),
        "failed": str(len(summary.failed)),
        **counts,
    }
