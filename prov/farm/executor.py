"""Run the tasks of a build on the workers of a farm.

A task that cannot leave this machine runs here: without a sandbox, with sources in local folders,
with leftovers in its WORKDIR, or under strace. All others become orders. An order whose worker is
lost, late, unable or lying is repeated elsewhere; a task whose script fails is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prov.errors import BuildError, ProvError
from prov.farm.accept import Accepted, accept_result, open_receipt
from prov.farm.cluster import Cluster, Machine, WorkerLost
from prov.farm.credentials import Credentials
from prov.farm.exchange import Exchange
from prov.farm.order import FORMAT, Assignment, encode
from prov.farm.placement import Queue, Wish
from prov.farm.prepare import Prepared, prepare
from prov.history.diff import diff_pairs
from prov.recipes.graph import Graph, Node
from prov.recipes.recipe import Source
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.scheduler.executor import LocalExecutor, Slot
from prov.tasks.job import Job, Result

ATTEMPTS = 4
"""The most attempts of one task."""
LOST = 2
"""After this many lost workers, a task runs alone."""
WAIT_FOR_WORKERS = 10.0
"""Seconds without any worker after which tasks run on this machine."""
PATIENCE = 3600.0
"""Seconds after which an order of unknown duration is late."""
LATE = 10.0
"""An order is late when it takes this many times its recorded duration."""
SHORTEST_PATIENCE = 120.0
MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class FarmOptions:
    """The settings of a farm."""

    url: str
    """The address of Dask's scheduler."""
    repository: str
    """The URL at which workers reach the exchange."""
    verify: float = 0.0
    """The part of orders that also run on a second worker."""
    shortest: float | None = None
    """Tasks with a shorter recorded duration, in seconds, stay here; None: by measurement."""


@dataclass(slots=True)
class FarmExecutor:
    """Runs tasks on a farm, and on this machine those that cannot leave it."""

    local: LocalExecutor
    graph: Graph
    credentials: Credentials
    exchange: Exchange
    options: FarmOptions
    note: Callable[[str], None]
    expected: Mapping[TaskKey, float]
    """Recorded durations of tasks, in seconds."""
    paths: Mapping[TaskKey, float]
    """Durations of the longest chains behind tasks, in seconds."""
    cluster: Cluster = field(init=False)
    _queue: Queue = field(init=False)
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _running: set[asyncio.Task[Accepted]] = field(default_factory=set)
    _overhead: float = 0.2
    """Average seconds that an order takes besides its script."""
    _seen: float = field(default_factory=time.monotonic)
    """When there was a worker last."""

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.options.url, self.credentials)
        self._queue = Queue(lambda: self.cluster.machines.values())
        self.cluster.looked = self._serve

    async def start(self) -> None:
        """Connect to the cluster. Raises ProvError."""
        await self.local.start()
        await self.cluster.open()

    def _serve(self) -> None:
        """Serve waiting tasks after a look at the workers."""
        now = time.monotonic()
        if self.cluster.machines:
            self._seen = now
        self._queue.serve()
        self._queue.reject(without_machines=now - self._seen > WAIT_FOR_WORKERS)

    @asynccontextmanager
    async def slot(self, node: Node) -> AsyncIterator[Slot]:
        """Wait for a worker, or for this machine if the task must run here."""
        wish = self._wish(node)
        machine = await self.acquire(wish, node) if self._leaves(node) else None
        if machine is None:
            async with self.local.slot(node) as own:
                yield own
            return
        slot = _FarmSlot(self, node, wish, machine)
        try:
            yield slot
        finally:
            slot.leave()

    def _wish(self, node: Node, *avoided: str, is_alone: bool = False) -> Wish:
        future: asyncio.Future[Machine | None] = asyncio.get_running_loop().create_future()
        chain = f"{node.arch}/{node.recipe.name}/{self.graph.chain(node.key)}"
        return Wish(future, chain, node.task.network, avoided, is_alone)

    def next_wish(self, slot: _FarmSlot, *, is_alone: bool) -> Wish:
        """Return the wish for a worker that a task has not used yet."""
        used = (*slot.wish.avoided, slot.machine.name)
        return self._wish(slot.node, *used, is_alone=is_alone)

    def release(self, wish: Wish, machine: Machine) -> None:
        """Give a worker back."""
        self._queue.release(wish, machine)

    async def acquire(self, wish: Wish, node: Node) -> Machine | None:
        """Wait for a worker that suits a task; return None if there is none."""
        return await self._queue.acquire(wish, self.paths.get(node.key, 0.0))

    def _leaves(self, node: Node) -> bool:
        """Return whether a task may run on another machine."""
        if self.local.workspace.sandbox is None:
            return False
        if node.task.network and any(map(_is_local, node.recipe.sources)):
            return False
        shortest = self.options.shortest if self.options.shortest is not None else self._overhead
        return self.expected.get(node.key, shortest) >= shortest

    async def run(self, slot: _FarmSlot, job: Job) -> Result:
        """Run a task on the farm, here as the last resort. Raises ProvError."""
        if job.incremental or job.strace is not None:
            return await self.local.run_instead(job)
        begun = time.monotonic()
        prepared = await self._prepare(job)
        if isinstance(prepared, Result):
            return prepared
        story: list[str] = []
        lost = 0
        while True:
            try:
                accepted = await self._attempt(slot, job, prepared)
            except WorkerLost as error:
                lost += 1
                story.append(f"worker {error} was lost")
            except ProvError as error:
                story.append(str(error))
            else:
                self._settle(slot, job, prepared, accepted)
                return self._result(job, accepted, time.monotonic() - begun)
            if len(story) == ATTEMPTS or lost > LOST:
                break
            self.note(f"{job.node.key}: {story[-1]}; running it elsewhere")
            if not await slot.move(is_alone=lost == LOST):
                break
        if lost:  # it may have exhausted their memory
            raise BuildError(f"no worker could run the task: {'; '.join(story)}")
        self.note(f"{job.node.key}: no worker could run it; running it on this machine")
        return await self.local.run_instead(job)

    def _result(self, job: Job, accepted: Accepted, seconds: float) -> Result:
        """Return the result of a task: the recorded one if a different process was first."""
        result = dataclasses.replace(accepted.result, seconds=seconds, place=accepted.worker)
        if result.output is not None and not accepted.is_first:
            recorded = self._compare(job.node.key, accepted)
            return dataclasses.replace(result, status="done by another", output=recorded)
        return result

    async def _prepare(self, job: Job) -> Prepared | Result:
        """Write an order and let workers fetch it; return a result if the task has run."""
        prepared = await self.local.call(job.node.key, prepare, job)
        if isinstance(prepared, Prepared):
            self.local.workspace.store.objects.refresh()
            self.exchange.offer(prepared.commit)
        return prepared

    async def _attempt(self, slot: _FarmSlot, job: Job, prepared: Prepared) -> Accepted:
        """Run an order at the slot's worker and record its result.

        When it is late, run it at a second worker as well, and return the first result. Raises
        WorkerLost or ProvError.
        """
        first = self._start(slot.machine, job, prepared)
        expected = self.expected.get(job.node.key)
        patience = PATIENCE if expected is None else max(SHORTEST_PATIENCE, LATE * expected)
        await asyncio.wait([first], timeout=patience)
        if first.done():
            return await first
        late = slot.machine
        self.note(
            f"{job.node.key}: no answer from {late.name} in {patience:.0f} s; running it twice"
        )
        late.is_late = True
        first.add_done_callback(lambda _task: late.recover())
        orders = {first}
        if await slot.move():
            again = await self._prepare(job)
            if isinstance(again, Prepared):
                orders.add(self._start(slot.machine, job, again))
        return await self._first_of(orders, job.node.key)

    async def _first_of(self, orders: set[asyncio.Task[Accepted]], key: TaskKey) -> Accepted:
        """Return the first result; compare others with it when they arrive.

        Raises the last error if all orders fail.
        """
        error: BaseException | None = None
        while orders:
            done, orders = await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
            for order in done:
                error = order.exception()
                if error is None:
                    for other in orders:
                        self._run_in_background(self._compare_late(other, key))
                    return order.result()
        assert error is not None
        raise error

    def _start(self, machine: Machine, job: Job, prepared: Prepared) -> asyncio.Task[Accepted]:
        """Start an order at a worker. The task raises WorkerLost or ProvError."""
        order = self._order(machine, job.node.key, prepared, replaces=job.force)
        task = asyncio.create_task(order)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _compare_late(self, order: asyncio.Task[Accepted], key: TaskKey) -> None:
        """Wait for a late result, and compare it with the recorded one."""
        self._compare(key, await order)

    async def _order(
        self, machine: Machine, key: TaskKey, prepared: Prepared, *, replaces: bool
    ) -> Accepted:
        """Send an order to a worker and record the result. Raises WorkerLost or ProvError."""
        assignment = Assignment(
            format=FORMAT,
            order=prepared.commit.hex(),
            url=self.options.repository,
            roots=[root.hex() for root in prepared.roots],
        )
        begun = time.monotonic()
        message = self.credentials.sign(encode(assignment))
        answer = await self.cluster.run(machine, prepared.commit.hex(), message)
        receipt, worker = open_receipt(self.credentials, prepared.commit, answer)
        if receipt.status == "unable":
            raise ProvError(f"worker {worker} could not run the task: {receipt.problem}")
        accepted: Accepted = await self.local.call(
            key, accept_result, self.credentials, self.exchange, prepared.commit, replaces
        )
        seconds = time.monotonic() - begun - receipt.seconds
        self._overhead += (seconds - self._overhead) / 8
        return accepted

    def _settle(self, slot: _FarmSlot, job: Job, prepared: Prepared, accepted: Accepted) -> None:
        """Remember what a worker has now; verify some results at a second worker."""
        self._queue.homes[slot.wish.chain] = slot.machine.name
        self.exchange.withdraw([prepared.commit])
        is_ok = accepted.result.status == "ran"
        if is_ok and random.random() < self.options.verify and len(self.cluster.machines) > 1:
            self._run_in_background(self._verify(job, slot.machine.name))

    async def _verify(self, job: Job, done_at: str) -> None:
        """Run a task again at a different worker, and compare the outputs."""
        wish = self._wish(job.node, done_at)
        machine = await self._queue.acquire(wish, 0.0)
        if machine is None:
            return
        try:
            prepared = await self._prepare(dataclasses.replace(job, force=True))
            assert isinstance(prepared, Prepared)
            accepted = await self._order(machine, job.node.key, prepared, replaces=False)
        finally:
            self._queue.release(wish, machine)
        self._compare(job.node.key, accepted)

    def _compare(self, key: TaskKey, accepted: Accepted) -> OutputId | None:
        """Report the files in which a second result differs from the recorded one.

        Returns the recorded output.
        """
        store, output = self.local.workspace.store, accepted.result.output
        store.objects.refresh()
        recorded = Records(store).output(key, accepted.result.task_hash)
        if recorded is not None and output is not None and output != recorded:
            self.note(
                f"{key} is not reproducible: its output at {accepted.worker} differs:"
                f" {self._differences(recorded, output)}"
            )
        return recorded

    def _differences(self, one: OutputId, other: OutputId) -> str:
        objects = self.local.workspace.store.objects
        differences = diff_pairs(objects, read_pair(objects, one), read_pair(objects, other))
        lines = [difference.line for difference in differences]
        more = f" and {len(lines) - MOST_LINES} more" if len(lines) > MOST_LINES else ""
        return f"{', '.join(lines[:MOST_LINES])}{more}"

    def _run_in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._end_background)

    def _end_background(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.note(f"a second run of a task failed: {task.exception()}")

    def kill(self, number: int) -> None:
        """Stop all orders, and send a signal to the tasks of this machine."""
        self.local.kill(number)
        self._queue.cancel()
        for task in (*self._running, *self._background):
            task.cancel()

    async def close(self) -> None:
        """Wait for verifications, and disconnect."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._background, return_exceptions=True)
        await self.cluster.close()
        await self.local.close()


@dataclass(slots=True)
class _FarmSlot:
    """A job of a worker."""

    executor: FarmExecutor
    node: Node
    wish: Wish
    machine: Machine
    jobs: int = 1
    makeflags: str = ""
    pass_fds: tuple[int, ...] = ()
    has_left: bool = False

    @property
    def place(self) -> str:
        return self.machine.name

    async def run(self, job: Job) -> Result:
        return await self.executor.run(self, job)

    async def move(self, *, is_alone: bool = False) -> bool:
        """Give the worker back, and wait for one that the task has not used, if there is one.

        Returns False if no worker can run the task.
        """
        self.leave()
        self.has_left = True
        self.wish = self.executor.next_wish(self, is_alone=is_alone)
        machine = await self.executor.acquire(self.wish, self.node)
        if machine is None:
            return False
        self.machine, self.has_left = machine, False
        return True

    def leave(self) -> None:
        """Give the worker back."""
        if not self.has_left:
            self.executor.release(self.wish, self.machine)


def _is_local(source: Source) -> bool:
    """Return whether a source is in a folder of this machine."""
    return source.url.startswith("file://") or source.git.startswith(("/", "file://"))
