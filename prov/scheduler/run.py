"""Carry out a plan: starting at the targets, run each task when its result is needed.

An executor runs the tasks, and limits how many run at once. This process is the scheduler: it makes
jobs, runs the tasks of a recipe one at a time, and otherwise only waits.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from prov.errors import CaptureError, CheckoutError, ProvError, StoreError
from prov.recipes.graph import Node
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.outcomes import Outcome
from prov.scheduler.claims import TaskClaims
from prov.scheduler.executor import Executor, LocalExecutor, Slot
from prov.scheduler.fetching import Fetcher
from prov.scheduler.ledger import Ledger
from prov.scheduler.plan import Action, Plan
from prov.scheduler.questions import NotBuilt, Questions
from prov.scheduler.summary import Progress, RunOptions, Settled, Summary, record_summary
from prov.scheduler.workers import Workers
from prov.sharing.caches import Anywhere
from prov.sharing.pushing import Publisher
from prov.sharing.results import Shareable
from prov.store.objects import Oid
from prov.tasks.job import Job, Result, Taken, Workspace
from prov.tasks.paths import make_paths
from prov.tasks.taskhash import output_paths
from prov.tasks.toolchain import Toolchains
from prov.text import few

SECONDS_TO_STOP = 3.0
ENVIRONMENT_ERRORS = (OSError, StoreError, CheckoutError, CaptureError)
"""Failures not caused by the task, such as a full disk."""


@dataclass(slots=True)
class Runner:
    """Carries out one plan."""

    workspace: Workspace
    plan: Plan
    toolchains: Toolchains
    options: RunOptions
    executor: Executor
    ledger: Ledger
    questions: Questions
    publishers: Sequence[Publisher] = ()
    """Receive each result that may be shared."""
    _staged: set[TaskKey] = field(default_factory=set)
    _recipe_locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    _stopping: bool = False
    _interrupted: bool = False

    @staticmethod
    def of(
        workspace: Workspace,
        plan: Plan,
        toolchains: Toolchains,
        progress: Progress,
        options: RunOptions,
        *,
        records: Records | None = None,
        anywhere: Anywhere | None = None,
        publishers: Sequence[Publisher] = (),
        claims: TaskClaims | None = None,
        farm: Callable[[LocalExecutor, Plan], Executor] | None = None,
    ) -> Runner:
        """Return a runner of a plan.

        `farm` returns an executor that runs some tasks on other machines. `anywhere` includes the
        results of remotes, if there are any. `records` selects the recorded results to use, by
        default all in the store.
        """
        records = records or Records(workspace.store, workspace.place_in(plan.graph))
        work = {step.key for step in plan.work}
        ledger = Ledger(progress, work)
        fetcher = Fetcher(anywhere, Workers(), progress.note) if anywhere else None
        known = anywhere or records
        runner: Runner

        async def run_task(key: TaskKey) -> Settled:
            return await runner.run_task(key)

        questions = Questions(plan, records, known, ledger, fetcher, run_task, work, claims)
        local = LocalExecutor(workspace, options.jobs, plan.graph.nodes, plan.own)
        executor = farm(local, plan) if farm is not None else local
        runner = Runner(
            workspace, plan, toolchains, options, executor, ledger, questions, publishers
        )
        runner._staged = {edge for node in plan.graph.nodes.values() for edge in node.needs}
        return runner

    def run(self, *, record: bool = True) -> Summary:
        """Carry out the plan and append the build to the history.

        Raises ProvError for a failure not caused by a task.
        """
        begun = time.time()
        self.workspace.store.objects.remove_leftovers()
        if self.ledger.work:
            self.ledger.progress.planned(len(self.ledger.work))
        broken = None
        try:
            broken = asyncio.run(self._main())
        except KeyboardInterrupt:
            self._interrupted = True
        if broken is not None:
            raise broken
        seconds = time.time() - begun
        summary = self.ledger.summary(self.plan, seconds=seconds, interrupted=self._interrupted)
        if record:
            records, jobs = self.questions.records, self.options.jobs
            summary.commit = record_summary(
                self.workspace, self.plan, records, summary, begun, jobs
            )
            self.workspace.store.refs.pack()
        for publisher in self.publishers:
            publisher.whole = self._shareable()
        return summary

    def _shareable(self) -> list[Shareable]:
        """Return the results used by this build that may be shared."""
        results = []
        for key, step in self.plan.steps.items():
            task_hash = self.ledger.task_hash(self.plan, key)
            stale = step.action == Action.STALE
            impure = key in self.questions.impure or not self.questions.starts_clean(key)
            if task_hash is not None and not stale and not impure:
                results.append(Shareable(key, task_hash, step.static_key))
        return results

    async def _main(self) -> BaseException | None:
        """Produce the results; return an error not caused by a task, or None."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        await self.executor.start()
        if self.questions.claims is not None:
            self.questions.claims.start()
        try:
            contents = [self.questions.content(key) for key in self._results()]
            await asyncio.gather(*contents, return_exceptions=True)
            broken = await self.questions.wait()
        finally:
            await self.executor.close()
        if broken is None and not self._stopping and not self.ledger.failed:
            self.ledger.cut_off_the_rest(self.plan)
        return broken

    def _results(self) -> list[TaskKey]:
        """Return the tasks whose outputs the build must produce: targets and fetched deploys."""
        nodes = self.plan.graph.nodes
        fetched = [step.key for step in self.plan.fetches if nodes[step.key].task.deploy]
        return list(dict.fromkeys((*self.plan.graph.targets, *fetched)))

    def _interrupt(self) -> None:
        """Stop all tasks on SIGINT or SIGTERM; a second signal kills them at once."""
        self._kill(signal.SIGKILL if self._interrupted else signal.SIGTERM)
        self._interrupted = True
        self._stop()
        asyncio.get_running_loop().call_later(SECONDS_TO_STOP, self._kill, signal.SIGKILL)

    def _stop(self) -> None:
        """Start no more tasks."""
        self._stopping = True
        if self.questions.claims is not None:
            self.questions.claims.stop()

    def _kill(self, number: int) -> None:
        """Send a signal to all tasks and transfers."""
        self.executor.kill(number)
        if self.questions.fetcher is not None:
            self.questions.fetcher.workers.kill(number)

    # running one task

    async def run_task(self, key: TaskKey) -> Settled:
        """Run a task when everything it needs is available.

        Raises NotBuilt if the task or one of its dependencies failed.
        """
        node = self.plan.graph.nodes[key]
        ask = self.questions
        incremental = not ask.starts_clean(key)
        await asyncio.gather(*(ask.content(edge) for edge in (*node.from_, *node.needs)))
        edges = await ask.edges(key)
        after = [] if incremental else [await ask.workdir(edge) for edge in node.after]
        # a recipe's tasks share its WORKDIRs
        lock = self._recipe_locks.setdefault((node.arch, node.recipe.name), asyncio.Lock())
        async with lock, self.executor.slot(node) as slot:
            try:
                if self._stopping:
                    raise NotBuilt(key)
                job = self._job(node, edges, tuple(after), slot, incremental=incremental)
                result = await self._execute(job, slot)
            finally:
                self.ledger.drop(key)
        return self._take(job, result)

    async def _execute(self, job: Job, slot: Slot) -> Result:
        key = job.node.key
        self.ledger.note_restored(self.plan, job.node.edges)
        self.ledger.start(key, slot.place)
        try:
            result = await slot.run(job)
        except (ProvError, OSError) as error:
            if not self._interrupted:
                self._fail(_failure(key, error))
            raise NotBuilt(key) from error
        finally:
            self.workspace.store.objects.refresh()
        self.ledger.end(key)
        return result

    def _take(self, job: Job, result: Result) -> Settled:
        """Record the result of a run in the ledger and offer it to publishers."""
        key = job.node.key
        if result.stray_write:
            others = self.ledger.ran_beside(key)
            if others:
                result.problem += f"; {few(others)} ran at the same time and may have caused it"
        self.ledger.count(result)
        if result.status == "failed":
            self._fail(result)
            raise NotBuilt(key)
        ran = result.status == "ran"
        if ran and job.plain and not job.incremental:
            for publisher in self.publishers:
                publisher.offer(key, result.task_hash, job.static_key)
        what = Outcome.RAN if ran else Outcome.CUT_OFF  # a different process ran it
        settled = Settled(key, what, result.task_hash, result.output, result.commit, result.number)
        return self.ledger.settle(settled, result)

    def _fail(self, result: Result) -> None:
        if not self.options.keep_going:
            self._stop()
        self.ledger.fail(result)

    def _job(
        self,
        node: Node,
        edges: dict[str, dict[str, str]],
        after: tuple[CommitId, ...],
        slot: Slot,
        *,
        incremental: bool,
    ) -> Job:
        step, own = self.plan.steps[node.key], self.plan.own[node.key]
        chain = self.plan.graph.chain(node.key)
        needs = tuple(replace(self._taken(key), direct=key in node.direct) for key in node.needs)
        strace = self.options.traced.strace_for(node.key, step.static_key)
        if incremental:
            strace = None  # it could not run again from the same start without strace
        return Job(
            node=node,
            chain=chain,
            own=own,
            edges=edges,
            static_key=step.static_key,
            task_paths=make_paths(
                self.workspace, self.toolchains, node, chain, own.toolchain, needs
            ),
            after=after,
            from_=tuple(self._taken(key) for key in node.from_),
            needs=needs,
            jobs=slot.jobs,
            makeflags=slot.makeflags,
            pass_fds=slot.pass_fds,
            force=step.forced,
            plain=not self.questions.stands_on_impure(node),
            incremental=incremental,
            staged=node.key in self._staged,
            strace=strace,
            sources=self._sources(node),
        )

    def _sources(self, node: Node) -> tuple[Oid, ...]:
        """Return the outputs whose files may be in a task's WORKDIR or sysroots."""
        outputs: dict[Oid, None] = {}
        pending = [node.key]
        while pending:
            source = self.plan.graph.nodes[pending.pop()]
            pending += source.after
            for key in (*source.from_, *source.needs):
                settled = self.ledger.settled.get(key)
                output = settled.output if settled else self.plan.steps[key].output
                # the outputs in a fetched WORKDIR may never have been in this store
                if output is not None and self.workspace.store.objects.exists(output):
                    outputs[output] = None
        return tuple(outputs)

    def _taken(self, key: TaskKey) -> Taken:
        node = self.plan.graph.nodes[key]
        paths = tuple(output_paths(node.recipe, node))
        native = node.recipe.arch in ("native", "cross")
        return Taken(key, self.questions.output_of(key), paths, native)


def _failure(key: TaskKey, error: ProvError | OSError) -> Result:
    """Return the result of a task that prov could not run or record."""
    hint = f" ({error.hint})" if isinstance(error, ProvError) and error.hint else ""
    environment = isinstance(error, ENVIRONMENT_ERRORS)
    return Result(key, "failed", TaskHash(b""), problem=f"{error}{hint}", environment=environment)
