"""Builds simulated in memory: tasks are a few lines of Python and no processes run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.outcomes import Outcome
from prov.scheduler.fetching import Fetcher
from prov.scheduler.ledger import Ledger
from prov.scheduler.plan import Choices, Plan, make_plan
from prov.scheduler.questions import NotBuilt, Questions
from prov.scheduler.summary import Settled
from prov.scheduler.workers import Workers
from prov.sharing.caches import Anywhere, Caches
from prov.store.objects import object_id
from prov.store.repository import Store
from prov.tasks.job import Result
from prov.tasks.taskhash import HashOnly, task_hash
from prov.transport.access import Access
from tests.scheduler.test_plan import Known


@dataclass
class Shown:
    """Records the progress of a build."""

    total: int = 0
    starts: list[TaskKey] = field(default_factory=list)
    ends: list[tuple[TaskKey, str]] = field(default_factory=list)
    counts: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def planned(self, total: int) -> None:
        self.total = total

    def started(self, key: TaskKey, place: str) -> None:
        self.starts.append(key)

    def finished(
        self, key: TaskKey, what: str, done: int, total: int, _result: Result | None
    ) -> None:
        self.ends.append((key, what))
        self.counts.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Everywhere(Known):
    """The results recorded in the store and at a remote."""

    outputs_away: set[tuple[TaskKey, TaskHash]] = field(default_factory=set)
    contents: dict[CommitId, OutputId] = field(default_factory=dict)
    """Commit of a WORKDIR -> its contents."""
    workdirs_away_: set[tuple[TaskKey, TaskHash]] = field(default_factory=set)

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        return (key, task_hash) in self.outputs_away

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        return (key, task_hash) in self.workdirs_away_


@dataclass
class Here(Records):
    """The results recorded in the store."""

    known: Everywhere = field(default_factory=Everywhere)

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        if self.known.away(key, task_hash):
            return None
        return self.known.output(key, task_hash)

    def last_run(
        self, key: TaskKey, task_hash: TaskHash, *, failed: bool = False
    ) -> tuple[int, CommitId | None]:
        return self.known.last_run(key, task_hash)


@dataclass
class Remote(Fetcher):
    """Fetches known results, except vanished ones."""

    everything: Everywhere = field(default_factory=Everywhere)
    vanished: set[TaskKey] = field(default_factory=set)
    fetches: list[tuple[TaskKey, bool]] = field(default_factory=list)
    lost: Callable[[TaskKey, TaskHash], None] = lambda _key, _hash: None
    """Called when a result cannot be fetched; may change the known results."""

    async def fetch(
        self, key: TaskKey, task_hash: TaskHash, static_key: StaticKey, *, workdir: bool = False
    ) -> bool:
        self.fetches.append((key, workdir))
        await asyncio.sleep(0)
        if key in self.vanished:
            self.lost(key, task_hash)
            return False
        self.everything.outputs_away.discard((key, task_hash))
        if workdir:
            self.everything.workdirs.add((key, task_hash))
        return True


def remote_of(store: Store, known: Everywhere) -> Remote:
    """Return a remote with the results that only a remote has."""
    anywhere = Anywhere(Here(store, known=known), Caches(store, [], Access({})))
    return Remote(anywhere, Workers(), lambda _text: None, everything=known)


@dataclass
class Build:
    """Carries out a plan in memory.

    A task's output is an id of its text in lower case, the outputs it uses, and the WORKDIRs of the
    tasks it comes after.
    """

    store: Store
    plan: Plan
    known: Everywhere
    texts: Mapping[TaskKey, str] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    fetcher: Remote | None = None
    error: Exception | None = None
    """An error to raise in place of a task's failure."""
    runs: list[TaskKey] = field(default_factory=list)
    shown: Shown = field(default_factory=Shown)
    questions: Questions = field(init=False)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        work = {step.key for step in self.plan.work}
        self.ledger = Ledger(self.shown, work)
        self.questions = Questions(
            self.plan,
            Here(self.store, known=self.known),
            self.known,
            self.ledger,
            self.fetcher,
            self.run_task,
            work,
        )

    def carry_out(self) -> BaseException | None:
        """Ask for the targets' outputs twice; return an error not caused by a task."""
        return asyncio.run(self._main())

    async def _main(self) -> BaseException | None:
        targets = self.plan.graph.targets
        await asyncio.gather(
            *(self.questions.content(key) for key in (*targets, *targets)), return_exceptions=True
        )
        return await self.questions.wait()

    async def run_task(self, key: TaskKey) -> Settled:
        """Run a task like the scheduler, without a process."""
        node, ask = self.plan.graph.nodes[key], self.questions
        taken = [await ask.content(edge) for edge in (*node.from_, *node.needs)]
        edges = await ask.edges(key)
        starts = [self.known.contents[await ask.workdir(edge)] for edge in node.after]
        self.ledger.start(key)
        self.runs.append(key)
        await asyncio.sleep(0)
        self.ledger.end(key)
        oid = task_hash(HashOnly(), self.plan.own[key], edges)
        if key in self.failing:
            if self.error is not None:
                raise self.error
            self.ledger.fail(Result(key, "failed", oid))
            raise NotBuilt(key)
        output = output_of(
            self.texts.get(key, ""),
            *(settled.output for settled in taken if settled.output),
            *starts,
        )
        self.known.contents[CommitId(oid)] = output
        self.known.outputs[key, oid] = output
        self.known.static[key, self.plan.steps[key].static_key] = output
        self.known.workdirs.add((key, oid))
        return self.ledger.settle(Settled(key, Outcome.RAN, oid, output, CommitId(oid), 1))

    def outcomes(self) -> dict[str, str]:
        """Return each task's outcome."""
        return {key: settled.what for key, settled in self.ledger.settled.items()}

    def plan_again(self, choices: Choices | None = None) -> Plan:
        """Return a new plan for the same tasks, from the current results."""
        return make_plan(self.plan.graph, self.plan.own, self.known, choices or Choices())


def output_of(text: str, *taken: bytes) -> OutputId:
    """Return the output of a task from its text and the outputs it uses."""
    return OutputId(object_id("blob", b"\0".join([text.lower().encode(), *taken])))
