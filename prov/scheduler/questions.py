"""Resolve a build's questions about tasks on demand, each question once.

The questions are a task's hash (once all its edges are known), its output (recorded under that
hash; otherwise the task runs), its content (the output in the store), its WORKDIR (recorded;
otherwise the task runs) and its run. Answering a question may ask others. Only needed tasks run,
and a task with unchanged inputs is skipped as soon as that is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from prov.recipes.graph import Node
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.outcomes import Outcome
from prov.scheduler.claims import TaskClaims
from prov.scheduler.fetching import Fetcher
from prov.scheduler.ledger import Ledger
from prov.scheduler.plan import Action, Known, Plan, edge_ids
from prov.scheduler.summary import Settled
from prov.tasks.taskhash import HashOnly, task_hash

Answer = Coroutine[Any, Any, Any]


class NotBuilt(Exception):
    """A dependency of the task failed, or the build is stopping."""


@dataclass(slots=True)
class Questions:
    """Answers questions about the tasks of a plan."""

    plan: Plan
    records: Records
    known: Known
    """The results recorded in the store or published at remotes."""
    ledger: Ledger
    fetcher: Fetcher | None
    run_task: Callable[[TaskKey], Coroutine[Any, Any, Settled]]
    work: set[TaskKey]
    claims: TaskClaims | None = None
    """Claims tasks at a remote; None without such a remote."""
    impure: set[TaskKey] = field(default_factory=set)
    """Tasks whose results depend on a stale output or on leftovers in a WORKDIR."""
    taken: set[TaskKey] = field(default_factory=set)
    """Tasks whose outputs are needed, not only their WORKDIRs."""
    _asked: dict[tuple[str, TaskKey], asyncio.Task[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.taken = {*self.plan.graph.targets}
        for step in self.plan.work:
            node = self.plan.graph.nodes[step.key]
            self.taken.update(node.from_, node.needs)

    def _ask(
        self, question: str, key: TaskKey, answer: Callable[[TaskKey], Answer]
    ) -> asyncio.Task[Any]:
        task = self._asked.get((question, key))
        if task is None:
            task = self._asked[question, key] = asyncio.ensure_future(answer(key))
        return task

    def output(self, key: TaskKey) -> Awaitable[Settled]:
        """Return a task's output, when it is known."""
        return self._ask("output", key, self._output)

    def hash(self, key: TaskKey) -> Awaitable[TaskHash]:
        """Return a task's hash, when it is known."""
        return self._ask("hash", key, self._hash)

    def content(self, key: TaskKey) -> Awaitable[Settled]:
        """Return a task's output, when it is in the store."""
        return self._ask("content", key, self._content)

    def workdir(self, key: TaskKey) -> Awaitable[CommitId]:
        """Return the commit of a task's WORKDIR."""
        return self._ask("workdir", key, self._workdir)

    def run(self, key: TaskKey) -> Awaitable[Settled]:
        """Run a task, once."""
        return self._ask("run", key, self.run_task)

    def output_of(self, key: TaskKey) -> OutputId:
        """Return a task's output, which must have been resolved."""
        settled = cast(Settled, self._asked["output", key].result())
        assert settled.output is not None
        return settled.output

    async def wait(self) -> BaseException | None:
        """Wait for all questions, including those asked in the meantime.

        Return the first error that is not a task's failure, or None.
        """
        broken: BaseException | None = None
        ended: set[asyncio.Task[Any]] = set()
        while pending := [task for task in self._asked.values() if task not in ended]:
            await asyncio.wait(pending)
            ended.update(pending)
            for task in pending:
                error = None if task.cancelled() else task.exception()
                if error is not None and not isinstance(error, NotBuilt):
                    broken = broken or error
        return broken

    async def edges(self, key: TaskKey) -> dict[str, dict[str, str]]:
        """Return a task's edges in the form of the inputs tree."""
        node = self.plan.graph.nodes[key]
        hashes: dict[TaskKey, TaskHash] = {}
        for edge in node.after:
            if not self.starts_clean(edge) and edge in self.work:
                hashes[edge] = cast(TaskHash, (await self.output(edge)).task_hash)
            else:
                hashes[edge] = await self.hash(edge)
        taken = await asyncio.gather(*(self.output(edge) for edge in (*node.from_, *node.needs)))
        outputs = {settled.key: settled.output for settled in taken}
        edges = edge_ids(node, hashes.get, outputs.get)
        assert edges is not None
        return edges

    def starts_clean(self, key: TaskKey) -> bool:
        """Return whether a task starts from a recorded WORKDIR instead of leftovers."""
        return key.recipe not in self.plan.choices.incremental

    def stands_on_impure(self, node: Node) -> bool:
        """Return whether a result depends on a stale output or on leftovers; if so, remember it.

        Such a result's task hash is correct, but its static key is not: it is computed from the
        current recipes.
        """
        impure = any(
            edge in self.impure
            or self.plan.steps[edge].action == Action.STALE
            or (edge in self.work and not self.starts_clean(edge))
            for edge in node.edges
        )
        if impure:
            self.impure.add(node.key)
        return impure

    async def _output(self, key: TaskKey) -> Settled:
        step = self.plan.steps[key]
        if step.output is not None and key not in self.work:
            what = Outcome.STALE if step.action == Action.STALE else Outcome.UP_TO_DATE
            return self.ledger.settle(Settled(key, what, step.task_hash, step.output))
        oid = await self.hash(key)
        if await self._forced(key):
            return await self.run(key)
        output = self.known.output(key, oid)
        if output is None:
            return await self._produce(key, oid)
        return self._recorded(key, oid, output)

    async def _produce(self, key: TaskKey, oid: TaskHash) -> Settled:
        """Run a task, or take the result of a different build that runs it now."""
        node = self.plan.graph.nodes[key]
        impure = self.stands_on_impure(node)
        if self.claims is None or impure or not self.starts_clean(key) or key not in self.taken:
            return await self.run(key)
        # claim the tasks of a chain in order, so that one build runs them all
        await asyncio.gather(*(self.output(edge) for edge in node.after if edge in self.taken))
        async with self.claims.claimed(key, oid) as found:
            output = self.known.output(key, oid) if found else None
            if output is None:
                return await self.run(key)
        return self._recorded(key, oid, output)

    def _recorded(self, key: TaskKey, oid: TaskHash, output: OutputId) -> Settled:
        """Return the outcome of a task whose result is recorded or published."""
        step = self.plan.steps[key]
        self.stands_on_impure(self.plan.graph.nodes[key])
        number, commit = self.records.last_run(key, oid)
        settled = Settled(key, Outcome.CUT_OFF, oid, output, commit, number)
        if step.for_workdir and commit is None:
            return settled  # not finished: its WORKDIR is needed
        return self.ledger.settle(settled)

    async def _content(self, key: TaskKey) -> Settled:
        settled = await self.output(key)
        while settled.task_hash is not None and self._is_missing(key, settled):
            away = self.fetcher if self.known.away(key, settled.task_hash) else None
            if away and await away.fetch(key, settled.task_hash, self.plan.steps[key].static_key):
                settled.what = Outcome.FETCHED
                return settled
            output = self.known.output(key, settled.task_hash)  # possibly at another remote
            if output is None:
                ran = await self.run(key)
                settled.what, settled.output = Outcome.RAN, ran.output
                settled.commit, settled.number = ran.commit, ran.number
                return settled
            settled.output = output
        return settled

    def _is_missing(self, key: TaskKey, settled: Settled) -> bool:
        """Return whether the store lacks an output that a remote published (it may be gone)."""
        if settled.what in (Outcome.RAN, Outcome.FETCHED, Outcome.STALE):
            return False
        oid = settled.task_hash
        return oid is not None and self.records.output(key, oid) is None

    async def _forced(self, key: TaskKey) -> bool:
        """Return whether a task runs even if its hash is recorded.

        It does if the user forced it, or with `follow = "always"` if a dependency ran.
        """
        step = self.plan.steps[key]
        if not step.forced and self.plan.choices.follow == "always":
            before = [await self.output(edge) for edge in self.plan.graph.nodes[key].edges]
            step.forced = any(settled.what == Outcome.RAN for settled in before)
        return step.forced

    async def _hash(self, key: TaskKey) -> TaskHash:
        step = self.plan.steps[key]
        clean = self.starts_clean(key)
        if step.task_hash is not None and (key not in self.work or clean):
            return step.task_hash
        if not clean and ("run", key) in self._asked:
            return cast(TaskHash, (await self.run(key)).task_hash)
        return task_hash(HashOnly(), self.plan.own[key], await self.edges(key))

    async def _workdir(self, key: TaskKey) -> CommitId:
        oid = await self.hash(key)
        if key in self.work:
            commit = (await self.output(key)).commit
        else:
            commit = await self._recorded_workdir(key, oid)
        if commit is not None:
            return commit
        return cast(CommitId, (await self.run(key)).commit)

    async def _recorded_workdir(self, key: TaskKey, oid: TaskHash) -> CommitId | None:
        commit = self.records.last_run(key, oid)[1]
        if commit is None and self.fetcher is not None and self.known.workdir_away(key, oid):
            static_key = self.plan.steps[key].static_key
            await self.fetcher.fetch(key, oid, static_key, workdir=True)
            commit = self.records.last_run(key, oid)[1]
        return commit
