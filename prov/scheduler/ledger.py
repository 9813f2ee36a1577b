"""The ledger of a build: each task's outcome, run times and cost."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.outcomes import Outcome
from prov.scheduler.plan import Plan
from prov.scheduler.summary import Progress, Settled, Summary
from prov.tasks.job import Result


@dataclass(slots=True)
class Ledger:
    """The state of a running build; it reports each finished task to `progress`."""

    progress: Progress
    work: Collection[TaskKey]
    """The tasks that run or may run. Progress counts these."""
    settled: dict[TaskKey, Settled] = field(default_factory=dict)
    failed: list[Result] = field(default_factory=list)
    spans: list[tuple[TaskKey, float, float]] = field(default_factory=list)
    """Task, start and end (seconds since the epoch) of each run."""
    added_by: dict[TaskKey, int] = field(default_factory=dict)
    script_seconds: float = 0.0
    own_seconds: float = 0.0
    _running: dict[TaskKey, float] = field(default_factory=dict)
    _done: int = 0

    def start(self, key: TaskKey, place: str = "") -> None:
        """Record that a task starts; `place` names the machine that runs it, "" for this one."""
        self.progress.started(key, place)
        self._running[key] = time.time()

    def end(self, key: TaskKey) -> None:
        """Record that a task has ended."""
        began = self._running.pop(key)
        self.spans.append((key, began, time.time()))

    def drop(self, key: TaskKey) -> None:
        """Forget a started task that produced no result."""
        self._running.pop(key, None)

    def ran_beside(self, key: TaskKey) -> list[TaskKey]:
        """Return the tasks that ran at the same time as a task's last run."""
        began = next(start for other, start, _ in reversed(self.spans) if other == key)
        ended = [other for other, _, end in self.spans if other != key and end >= began]
        return [*self._running, *ended]

    def count(self, result: Result) -> None:
        """Add a run's cost and report its notes."""
        self.added_by[result.key] = result.added
        self.script_seconds += result.script_seconds
        self.own_seconds += result.seconds - result.script_seconds
        for note in result.notes:
            self.progress.note(note)

    def settle(self, settled: Settled, result: Result | None = None) -> Settled:
        """Record a task's outcome, unless one is recorded, and return the recorded outcome."""
        if settled.key in self.settled:
            return settled
        if settled.what != Outcome.FAILED:
            self.settled[settled.key] = settled
        if settled.key in self.work:
            self._done += 1
            self.progress.finished(settled.key, settled.what, self._done, len(self.work), result)
        return settled

    def fail(self, result: Result) -> None:
        """Record that a task failed."""
        self.failed.append(result)
        self.settle(Settled(result.key, Outcome.FAILED, None, None), result)

    def cut_off_the_rest(self, plan: Plan) -> None:
        """Record tasks that might have run but were not needed as skipped (early cutoff)."""
        for key in set(self.work) - self.settled.keys():
            step = plan.steps[key]
            self.settle(Settled(key, Outcome.CUT_OFF, step.task_hash, step.output))

    def note_restored(self, plan: Plan, edges: Collection[TaskKey]) -> None:
        """Record up-to-date tasks among `edges` as restored, since a task uses their outputs."""
        for edge in edges:
            step = plan.steps[edge]
            settled = self.settled.setdefault(
                edge, Settled(edge, Outcome.UP_TO_DATE, step.task_hash, step.output)
            )
            if settled.what == Outcome.UP_TO_DATE:
                settled.what = Outcome.RESTORED

    def task_hash(self, plan: Plan, key: TaskKey) -> TaskHash | None:
        """Return a task's hash, or None if it is not known yet."""
        settled = self.settled.get(key)
        return settled.task_hash if settled else plan.steps[key].task_hash

    def summary(self, plan: Plan, *, seconds: float, interrupted: bool) -> Summary:
        """Return the summary of a finished build."""
        over = self.settled.keys() | {result.key for result in self.failed}
        return Summary(
            settled=self.settled,
            failed=self.failed,
            not_built=[key for key in plan.graph.targets if key not in over],
            seconds=seconds,
            script_seconds=self.script_seconds,
            own_seconds=self.own_seconds,
            added=sum(self.added_by.values()),
            interrupted=interrupted,
            spans=self.spans,
            added_by=self.added_by,
        )
