"""Carrying out a plan: demand starts at the targets, and a task runs when somebody needs what it
gives.

Four questions are asked of a task, each answered once: its hash (are all its edges known?), its
output (recorded under that hash, or run it), its WORKDIR (recorded, or run it), and its run. So
nothing runs that is not needed, and a task whose inputs come out the same is cut off as soon as
that is known. Tasks run in worker processes; this one, which only waits, is the scheduler.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from prov.errors import CaptureError, CheckoutError, ProvError, StoreError
from prov.recipes.graph import Node
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.scheduler.fetching import Fetcher
from prov.scheduler.jobserver import Jobserver
from prov.scheduler.plan import Known, Plan, edge_ids
from prov.scheduler.summary import Progress, RunOptions, Settled, Summary, record_summary
from prov.scheduler.workers import Workers
from prov.sharing.caches import Anywhere
from prov.sharing.pushing import Publisher
from prov.sharing.results import Shareable
from prov.store.objects import Oid
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Site, Taken
from prov.tasks.paths import make_room
from prov.tasks.taskhash import HashOnly, output_paths, task_hash
from prov.tasks.toolchain import Toolchains
from prov.text import few

SECONDS_TO_STOP = 3.0


class _NotBuilt(Exception):
    """Something that a task needs failed, or the build is ending."""


@dataclass(slots=True)
class Runner:
    """Carries out one plan."""

    site: Site
    plan: Plan
    toolchains: Toolchains
    progress: Progress
    options: RunOptions
    anywhere: Anywhere | None = None
    """What is recorded here or at remotes, where there are any."""
    publishers: Sequence[Publisher] = ()
    """Told of each result that others may have."""
    records: Records = field(init=False)
    settled: dict[TaskKey, Settled] = field(default_factory=dict)
    failed: list[Result] = field(default_factory=list)
    _once: dict[tuple[str, str], asyncio.Task[Any]] = field(default_factory=dict)
    _recipe_locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    _workers: Workers = field(default_factory=Workers)
    _work: set[str] = field(default_factory=set)
    _staged: set[str] = field(default_factory=set)
    _odd: set[str] = field(default_factory=set)
    _fetcher: Fetcher | None = None
    _done: int = 0
    _added: int = 0
    _script_seconds: float = 0.0
    _own_seconds: float = 0.0
    _spans: list[tuple[str, float, float]] = field(default_factory=list)
    _added_by: dict[str, int] = field(default_factory=dict)
    _running: dict[str, float] = field(default_factory=dict)
    _stopping: bool = False
    _interrupted: bool = False
    _jobserver: Jobserver | None = None
    _broken: BaseException | None = None

    def __post_init__(self) -> None:
        self.records = Records(self.site.store, self.site.place_in(self.plan.graph))
        if self.anywhere is not None:
            self._fetcher = Fetcher(self.anywhere, self._workers, self.progress.note)
        self._staged = {edge for node in self.plan.graph.nodes.values() for edge in node.needs}
        self._work = {step.key for step in self.plan.work}

    @property
    def _known(self) -> Known:
        return self.anywhere or self.records

    def run(self, *, record: bool = True) -> Summary:
        """Carry out the plan and append the build to the history.

        Raises ProvError for what is no task's failure.
        """
        begun = time.time()
        self.site.store.objects.remove_leftovers()
        if self._work:
            self.progress.planned(len(self._work))
        try:
            asyncio.run(self._main())
        except KeyboardInterrupt:
            self._interrupted = True
        if self._broken is not None:
            raise self._broken
        not_built = [key for key in self.plan.graph.targets if key not in self.settled]
        not_built = [key for key in not_built if all(key != result.key for result in self.failed)]
        summary = Summary(self.settled, self.failed, not_built, time.time() - begun)
        summary.script_seconds, summary.own_seconds = self._script_seconds, self._own_seconds
        summary.added = self._added
        summary.interrupted = self._interrupted
        summary.spans, summary.added_by = self._spans, self._added_by
        if record:
            summary.commit = record_summary(
                self.site, self.plan, self.records, summary, begun, self.options.jobs
            )
            self.site.store.refs.pack()
        for publisher in self.publishers:
            publisher.whole = self._shareable()
        return summary

    def _shareable(self) -> list[Shareable]:
        """Return the results that this build stands on and that others may have."""
        found = []
        for key, step in self.plan.steps.items():
            settled = self.settled.get(key)
            task_hash = settled.task_hash if settled else step.task_hash
            odd = key in self._odd or step.action == "stale" or not self._starts_clean(key)
            if task_hash is not None and not odd:
                found.append(Shareable(key, task_hash, step.static_key))
        return found

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        self._jobserver = Jobserver(self.options.jobs)
        try:
            await asyncio.gather(
                *(self.content(TaskKey(key)) for key in self._asked_for()), return_exceptions=True
            )
            await self._wait_for_the_rest()
        finally:
            self._jobserver.close()
        if not self._stopping and not self.failed:
            for key in self._work - self.settled.keys():
                self._finish(
                    Settled(
                        TaskKey(key),
                        "cut off",
                        self.plan.steps[TaskKey(key)].task_hash,
                        self.plan.steps[TaskKey(key)].output,
                    )
                )

    def _asked_for(self) -> list[str]:
        """Return the tasks whose outputs are to be here in the end: targets, and what is fetched to
        be deployed.
        """
        fetched = [
            step.key for step in self.plan.fetches if self.plan.graph.nodes[step.key].task.deploy
        ]
        return list(dict.fromkeys((*self.plan.graph.targets, *fetched)))

    async def _wait_for_the_rest(self) -> None:
        """Wait for every question that was asked, also of those asked meanwhile; keep what is no
        task's failure.
        """
        seen: set[asyncio.Task[Any]] = set()
        while pending := [task for task in self._once.values() if task not in seen]:
            await asyncio.wait(pending)
            seen.update(pending)
            for task in pending:
                error = None if task.cancelled() else task.exception()
                if error is not None and not isinstance(error, _NotBuilt) and self._broken is None:
                    self._broken = error

    def _interrupt(self) -> None:
        """Stop all tasks: ^C, or a kill that lets us. A second one does not wait for them."""
        self._workers.kill(signal.SIGKILL if self._interrupted else signal.SIGTERM)
        self._interrupted = self._stopping = True
        asyncio.get_running_loop().call_later(SECONDS_TO_STOP, self._workers.kill, signal.SIGKILL)

    # the four questions

    def _ask(
        self, question: str, key: TaskKey, answer: Callable[[], Coroutine[Any, Any, Any]]
    ) -> asyncio.Task[Any]:
        known = self._once.get((question, key))
        if known is None:
            known = self._once[question, key] = asyncio.ensure_future(answer())
        return known

    def output(self, key: TaskKey) -> Awaitable[Settled]:
        """Ask for a task's output."""
        return self._ask("output", key, lambda: self._output(key))

    def hash(self, key: TaskKey) -> Awaitable[TaskHash]:
        """Ask for a task's hash."""
        return self._ask("hash", key, lambda: self._hash(key))

    def content(self, key: TaskKey) -> Awaitable[Settled]:
        """Ask for a task's output to be in the store."""
        return self._ask("content", key, lambda: self._content(key))

    def workdir(self, key: TaskKey) -> Awaitable[CommitId]:
        """Ask for the commit of a task's WORKDIR."""
        return self._ask("workdir", key, lambda: self._workdir(key))

    def rerun(self, key: TaskKey) -> Awaitable[Settled]:
        """Ask for a task to be run."""
        return self._ask("run", key, lambda: self._run(key))

    async def _output(self, key: TaskKey) -> Settled:
        step = self.plan.steps[key]
        if step.output is not None and key not in self._work:
            what = "stale" if step.action == "stale" else "up to date"
            return self._finish(Settled(key, what, step.task_hash, step.output))
        oid = await self.hash(key)
        output = None if await self._forced(key) else self._known.output(key, oid)
        if output is None:
            return await self.rerun(key)
        self._stands_on_odd(self.plan.graph.nodes[key])
        number, commit = self.records.last_run(key, oid)
        settled = Settled(key, "cut off", oid, output, commit, number)
        # one that is wanted for its WORKDIR is not over yet
        return settled if step.for_workdir and commit is None else self._finish(settled)

    async def _content(self, key: TaskKey) -> Settled:
        settled = await self.output(key)
        while settled.task_hash is not None and self._is_missing(key, settled):
            away = self._fetcher if self._known.away(key, settled.task_hash) else None
            if away and await away.fetch(key, settled.task_hash, self.plan.steps[key].static_key):
                settled.what = "fetched"
                return settled
            output = self._known.output(key, settled.task_hash)  # another remote may have it
            if output is None:
                ran = await self.rerun(key)
                settled.what, settled.output, settled.commit, settled.number = (
                    "ran",
                    ran.output,
                    ran.commit,
                    ran.number,
                )
                return settled
            settled.output = output
        return settled

    def _is_missing(self, key: TaskKey, settled: Settled) -> bool:
        """Tell whether an output is not here, as a remote's that it was known of, be it still there
        or not.
        """
        made = settled.what in ("ran", "fetched", "stale")
        return (
            not made
            and settled.task_hash is not None
            and self.records.output(key, settled.task_hash) is None
        )

    async def _forced(self, key: TaskKey) -> bool:
        """Tell whether a task runs even if its hash is recorded: it was asked for, or what it
        follows ran.
        """
        step = self.plan.steps[key]
        if not step.forced and self.plan.choices.follow == "always":
            before = [await self.output(edge) for edge in self.plan.graph.nodes[key].edges]
            step.forced = any(each.what == "ran" for each in before)
        return step.forced

    async def _hash(self, key: TaskKey) -> TaskHash:
        step = self.plan.steps[key]
        if step.task_hash is not None and (key not in self._work or self._starts_clean(key)):
            return step.task_hash
        if not self._starts_clean(key) and ("run", key) in self._once:
            return cast(TaskHash, (await self.rerun(key)).task_hash)
        return task_hash(HashOnly(), self.plan.own[key], await self._edges(key))

    def _starts_clean(self, key: TaskKey) -> bool:
        return key.recipe not in self.plan.choices.incremental

    async def _edges(self, key: TaskKey) -> dict[str, dict[str, str]]:
        node = self.plan.graph.nodes[key]
        hashes: dict[TaskKey, TaskHash] = {}
        for edge in node.after:
            if not self._starts_clean(edge) and edge in self._work:
                hashes[edge] = cast(TaskHash, (await self.output(edge)).task_hash)
            else:
                hashes[edge] = await self.hash(edge)
        taken = await asyncio.gather(*(self.output(edge) for edge in (*node.from_, *node.needs)))
        outputs = {each.key: each.output for each in taken}
        edges = edge_ids(node, hashes.get, outputs.get)
        assert edges is not None
        return edges

    async def _workdir(self, key: TaskKey) -> CommitId:
        oid = await self.hash(key)
        if key in self._work:
            settled = await self.output(key)
            if settled.commit is not None:
                return settled.commit
        else:
            commit = self.records.last_run(key, oid)[1]
            if commit is None and self._fetcher is not None and self._known.workdir_away(key, oid):
                await self._fetcher.fetch(key, oid, self.plan.steps[key].static_key, workdir=True)
                commit = self.records.last_run(key, oid)[1]
            if commit is not None:
                return commit
        return cast(CommitId, (await self.rerun(key)).commit)

    async def _run(self, key: TaskKey) -> Settled:
        node = self.plan.graph.nodes[key]
        incremental = not self._starts_clean(key)
        await asyncio.gather(*(self.content(edge) for edge in (*node.from_, *node.needs)))
        edges = await self._edges(key)
        after = [] if incremental else [await self.workdir(edge) for edge in node.after]
        lock = self._recipe_locks.setdefault((node.arch, node.recipe.name), asyncio.Lock())
        assert self._jobserver is not None
        async with lock:
            await self._jobserver.acquire()
            try:
                if self._stopping:
                    raise _NotBuilt(key)
                job = self._job(node, edges, tuple(after), incremental=incremental)
                self._note_restored(node)
                self.progress.started(key)
                began = self._running[key] = time.time()
                result = await self._in_worker(job)
                self._spans.append((key, began, time.time()))
            finally:
                self._running.pop(key, None)
                self._jobserver.release()
        if result.trespass:
            others = [
                *self._running,
                *(other for other, _, end in self._spans if other != key and end >= began),
            ]
            if others:
                result.problem += f"; {few(others)} ran at the same time, and may have done it"
        for note in result.notes:
            self.progress.note(note)
        self._added += result.added
        self._added_by[key] = result.added
        self._script_seconds += result.script_seconds
        self._own_seconds += result.seconds - result.script_seconds
        what = "cut off" if result.status == "done by another" else result.status
        settled = Settled(key, what, result.task_hash, result.output, result.commit, result.number)
        if result.status == "failed":
            self._fail(result)
            raise _NotBuilt(key)
        if result.status == "ran" and job.plain and not incremental:
            for publisher in self.publishers:
                publisher.offer(key, result.task_hash, job.static_key)
        return self._finish(settled, result)

    def _note_restored(self, node: Node) -> None:
        """Note that what a task takes, and nobody ran in this build, is put in place from the
        store.
        """
        for edge in node.edges:
            step = self.plan.steps[edge]
            settled = self.settled.setdefault(
                edge, Settled(edge, "up to date", step.task_hash, step.output)
            )
            if settled.what == "up to date":
                settled.what = "restored"

    def _stands_on_odd(self, node: Node) -> bool:
        """Tell whether a result stands on one that was kept although stale, or made from leftovers.

        Its task hash is true to that, but its static key speaks of what the recipes say now.
        """
        odd = any(
            edge in self._odd
            or self.plan.steps[edge].action == "stale"
            or (edge in self._work and not self._starts_clean(edge))
            for edge in node.edges
        )
        if odd:
            self._odd.add(node.key)
        return odd

    # running one task

    def _job(
        self,
        node: Node,
        edges: dict[str, dict[str, str]],
        after: tuple[CommitId, ...],
        *,
        incremental: bool,
    ) -> Job:
        chain = self.plan.graph.chain(node.key)
        assert self._jobserver is not None
        needs = tuple(replace(self._taken(key), direct=key in node.direct) for key in node.needs)
        return Job(
            node=node,
            chain=chain,
            own=self.plan.own[node.key],
            edges=edges,
            static_key=self.plan.steps[node.key].static_key,
            room=make_room(
                self.site, self.toolchains, node, chain, self.plan.own[node.key].toolchain, needs
            ),
            after=after,
            from_=tuple(self._taken(key) for key in node.from_),
            needs=needs,
            jobs=self.options.jobs,
            makeflags=self._jobserver.makeflags,
            pass_fds=self._jobserver.pass_fds,
            force=self.plan.steps[node.key].forced,
            plain=not self._stands_on_odd(node),
            incremental=incremental,
            staged=node.key in self._staged,
            sources=self._sources(node),
        )

    def _sources(self, node: Node) -> tuple[Oid, ...]:
        found: dict[Oid, None] = {}
        pending = [node.key]
        while pending:
            each = self.plan.graph.nodes[pending.pop()]
            pending += each.after
            for key in (*each.from_, *each.needs):
                settled = self.settled.get(key)
                output = settled.output if settled else self.plan.steps[key].output
                # of a WORKDIR that came from a remote, what was in it may never have been here
                if output is not None and self.site.store.objects.exists(output):
                    found[output] = None
        return tuple(found)

    def _taken(self, key: TaskKey) -> Taken:
        node = self.plan.graph.nodes[key]
        settled = self._once["output", key].result()
        assert settled.output is not None
        paths = tuple(output_paths(node.recipe, node))
        return Taken(key, settled.output, paths, node.recipe.arch in ("native", "cross"))

    async def _in_worker(self, job: Job) -> Result:
        key = job.node.key
        try:
            answer = await self._workers.run(lambda: run_task(self.site, job), key)
        except (ProvError, OSError) as error:
            if self._interrupted:
                raise _NotBuilt(key) from error
            hint = f" ({error.hint})" if isinstance(error, ProvError) and error.hint else ""
            environment = isinstance(error, (OSError, StoreError, CheckoutError, CaptureError))
            self._fail(
                Result(
                    key, "failed", TaskHash(b""), problem=f"{error}{hint}", environment=environment
                )
            )
            raise _NotBuilt(key) from error
        finally:
            self.site.store.objects.refresh()
        return cast(Result, answer)

    def _fail(self, result: Result) -> None:
        self.failed.append(result)
        self._stopping = self._stopping or not self.options.keep_going
        self._finish(Settled(result.key, "failed", None, None), result)

    # keeping count

    def _finish(self, settled: Settled, result: Result | None = None) -> Settled:
        if settled.key in self.settled:
            return settled
        if settled.what != "failed":
            self.settled[settled.key] = settled
        if settled.key in self._work:
            self._done += 1
            self.progress.finished(settled.key, settled.what, self._done, len(self._work), result)
        return settled
