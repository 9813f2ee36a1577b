"""A build as it is told: while it runs, to whoever watches; when it is over, as a summary and in
the history.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Protocol

from prov.records.build_list import BuildList, Line, Span, record_build
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.run import author
from prov.scheduler.plan import Plan
from prov.tasks.job import Result, Site

COUNTED = ("ran", "restored", "fetched", "cut off", "stale")
"""What can happen to a task that is no failure."""


class Progress(Protocol):
    """What a build tells while it runs; the command line shows it."""

    def planned(self, total: int) -> None: ...

    def started(self, key: TaskKey) -> None: ...

    def finished(
        self, key: TaskKey, what: str, done: int, total: int, result: Result | None
    ) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to carry out a plan."""

    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    keep_going: bool = False


@dataclass(slots=True)
class Settled:
    """A task of which nothing more is to be done: `what` happened, and the result."""

    key: TaskKey
    what: str
    task_hash: TaskHash | None
    output: OutputId | None
    commit: CommitId | None = None
    number: int = 0


@dataclass(slots=True)
class Summary:
    """A build that is over."""

    settled: dict[TaskKey, Settled]
    failed: list[Result]
    not_built: list[TaskKey]
    """Tasks that were wanted and could not be built, since something that they need failed."""
    seconds: float = 0.0
    script_seconds: float = 0.0
    """What the tasks' own scripts took, all added up."""
    own_seconds: float = 0.0
    """What prov took for itself in the workers, all added up."""
    added: int = 0
    commit: CommitId | None = None
    interrupted: bool = False
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Each task that ran, and when: seconds since the epoch."""
    added_by: dict[str, int] = field(default_factory=dict)
    """Task -> bytes that it added to the store."""

    def count(self, what: str) -> int:
        return sum(1 for each in self.settled.values() if each.what == what)

    @property
    def ok(self) -> bool:
        return not self.failed and not self.not_built and not self.interrupted


def record_summary(
    site: Site, plan: Plan, records: Records, summary: Summary, begun: float, jobs: int
) -> CommitId:
    """Append a build that is over to the history; return its commit.

    `begun` is in seconds since the epoch.
    """
    last = BuildList.latest(site.store)
    lines = []
    for key, step in plan.steps.items():
        settled = summary.settled.get(key)
        task_hash = (settled.task_hash if settled else None) or step.task_hash
        output = (settled.output if settled else None) or step.output
        if task_hash is None or output is None:
            continue
        before = last.line(key) if last else None
        number = settled.number if settled else 0
        if not number:
            same = before is not None and before.task_hash == task_hash and before.run
            number = before.run if same and before else records.last_run(key, task_hash)[0]
        lines.append(Line(key, task_hash, output, number))
    happened = {
        each.key: each.what for each in summary.settled.values() if each.what != "up to date"
    }
    happened |= {step.key: "not built" for step in plan.work if step.key not in happened}
    happened |= {result.key: f"failed {result.task_hash.hex()}" for result in summary.failed}
    facts = {
        "targets": " ".join(plan.graph.targets),
        "result": "ok" if summary.ok else "interrupted" if summary.interrupted else "failed",
        "seconds": f"{summary.seconds:.3f}",
        "script-seconds": f"{summary.script_seconds:.3f}",
        "own-seconds": f"{summary.own_seconds:.3f}",
        "host": socket.gethostname(),
        "sandbox": "bwrap" if site.sandbox else "none",
        "jobs": str(jobs),
        "added": str(summary.added),
        "failed": str(len(summary.failed)),
    }
    facts |= {what.replace(" ", "-"): str(summary.count(what)) for what in COUNTED}
    timeline = [
        Span(TaskKey(key), began - begun, ended - began, summary.added_by.get(key, 0))
        for key, began, ended in summary.spans
    ]
    versions = {node.recipe.name: node.recipe.version for node in plan.graph.nodes.values()}
    by = author(begun)
    ran = {*(key for key, _, _ in summary.spans), *(result.key for result in summary.failed)}
    reasons = {step.key: step.reason for step in plan.work if step.key in ran}
    return record_build(
        site.store,
        lines,
        happened,
        facts,
        by,
        timeline=timeline,
        versions=versions,
        reasons=reasons,
    )
