"""Run the tasks of a build as actions of a Remote Execution API server.

A task that cannot leave this machine runs here: without a sandbox, with a network, with leftovers
in its WORKDIR, under strace, or in Python if that is not the system's. So does a task that the
server could not run, and all tasks if the server cannot be reached any more; a task whose script
fails does not.

Orders are written and results are recorded in the processes that also run tasks. Only other
processes, which fork none themselves, connect to the server.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from prov.errors import ProvError
from prov.farm.accept import Arrival, Rejected, record
from prov.farm.order import Receipt, decode
from prov.farm.prepare import Prepared, prepare
from prov.intake.source import Content, Source
from prov.reapi.connection import ServerDown
from prov.reapi.transfer import FOLDER, ReceivedResult, Server, Transfers
from prov.recipes.graph import Node
from prov.records.ids import CommitId
from prov.records.lookup import Records
from prov.scheduler.executor import LocalExecutor, Slot
from prov.scheduler.task_workers import TaskWorkers
from prov.store.objects import Oid
from prov.tasks.job import Job, Result, Workspace
from prov.text import size_text

ATTEMPTS = 2
"""The most attempts of one task at the server."""
_CHUNK = 1 << 20
_LONGEST_HEADER = 32


@dataclass(slots=True)
class ReapiExecutor:
    """Runs tasks at a server, and on this machine those that cannot leave it."""

    local: LocalExecutor
    server: Server
    actions: int
    """The most actions at the same time."""
    note: Callable[[str], None]
    ended: int = 0
    """The number of actions that ended."""
    uploaded: int = 0
    """Bytes uploaded for them."""
    _transfers: Transfers = field(init=False)
    _workers: TaskWorkers = field(init=False)
    _free: asyncio.Semaphore = field(init=False)
    _is_down: bool = False
    """Whether the server could not be reached."""
    _is_stopped: bool = False
    """Whether the build was interrupted."""

    def __post_init__(self) -> None:
        self._transfers = Transfers(self.local.workspace.store, self.server)
        self._workers = TaskWorkers(self._transfer)

    async def start(self) -> None:
        """Prepare to run tasks here and at the server."""
        self._free = asyncio.Semaphore(self.actions)
        await self.local.start()

    @asynccontextmanager
    async def slot(self, node: Node) -> AsyncIterator[Slot]:
        """Wait until the server may run a further action, or for this machine."""
        if self._is_down or not self._leaves(node):
            async with self.local.slot(node) as own:
                yield own
            return
        async with self._free:
            yield _ActionSlot(self, self.server.address.target, self.server.jobs)

    def _leaves(self, node: Node) -> bool:
        """Return whether a task may run at the server."""
        if self.local.workspace.sandbox is None or node.task.network:
            return False
        # else the interpreter is an input only by its version; see `interpreter_tools`
        return node.task.interpreter != "python3" or sys.base_prefix == "/usr"

    async def run(self, job: Job) -> Result:
        """Run a task at the server, here as the last resort. Raises ProvError."""
        if job.incremental or job.strace is not None or self._is_down:
            return await self.local.run_instead(job)
        for _attempt in range(ATTEMPTS):
            prepared = await self.local.call(job.node.key, prepare, job)
            if isinstance(prepared, Result):
                return prepared
            try:
                return await self._run_order(job, prepared)
            except ServerDown as error:
                if not self._is_down:
                    self.note(f"{error}; running all other tasks on this machine")
                self._is_down = True
                break
            except ProvError as error:
                if self._is_stopped:
                    raise
                self.note(f"{job.node.key}: {error}")
        return await self.local.run_instead(job)

    async def _run_order(self, job: Job, prepared: Prepared) -> Result:
        """Execute an order and record its result. Raises ProvError."""
        objects = self.local.workspace.store.objects
        objects.refresh()
        begun = time.monotonic()
        top = self.local.workspace.store.cache / FOLDER
        top.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="result-", dir=top) as folder:
            request = pickle.dumps((prepared.commit, Path(folder)), protocol=5)
            received = await self._workers.run(request, f"the action of {job.node.key}")
            assert isinstance(received, ReceivedResult)
            self.ended += 1
            self.uploaded += received.uploaded
            result = await self.local.call(
                job.node.key, record_received, prepared.commit, received, job.force
            )
            return replace(result, seconds=time.monotonic() - begun)

    def _transfer(self, request: bytes) -> ReceivedResult:
        """Execute an order, in a process that connects to the server."""
        commit, folder = pickle.loads(request)  # trusted: from this executor
        return self._transfers.run(commit, folder)

    def kill(self, number: int) -> None:
        """Send a signal to all tasks and transfers; a transfer then cancels its action."""
        self._is_stopped = True
        self.local.kill(number)
        self._workers.kill(number)

    async def close(self) -> None:
        """End the processes."""
        if self.ended:
            size = size_text(self.uploaded)
            self.note(f"{self.server.address.url}: {self.ended} actions, {size} uploaded")
        self._workers.close()
        await self.local.close()


@dataclass(frozen=True, slots=True)
class _ActionSlot:
    """The right to run one action."""

    executor: ReapiExecutor
    place: str
    jobs: int
    makeflags: str = ""
    pass_fds: tuple[int, ...] = ()

    async def run(self, job: Job) -> Result:
        return await self.executor.run(job)


def record_received(
    workspace: Workspace, order: CommitId, received: ReceivedResult, replaces: bool
) -> Result:
    """Examine and record a received result. Raises ProvError if it is rejected.

    Returns the recorded result if a different process recorded one before.
    """
    opened = partial(_open_receipt, order, received.worker)
    arrival = Arrival(received.commit, received_objects(received.folder), opened)
    accepted = record(workspace.store, order, arrival, replaces=replaces)
    result = replace(accepted.result, place=received.worker)
    if result.output is None or accepted.is_first:
        return result
    workspace.store.objects.refresh()
    recorded = Records(workspace.store).output(result.key, result.task_hash)
    return replace(result, status="done by another", output=recorded)


def _open_receipt(order: CommitId, worker: str, message: bytes) -> tuple[Receipt, str]:
    """Return a receipt and the worker's name. The server, not the worker, is trusted."""
    receipt = decode(message, Receipt)
    if receipt.order != order.hex():
        raise Rejected(f"worker {worker} answered a different order")
    return receipt, worker


def received_objects(folder: Path) -> Source:
    """Return a source of the objects in a folder; see `prov.reapi.action`."""

    def read(oid: Oid) -> Content | None:
        path = folder / oid.hex()
        if not path.exists():
            return None
        with path.open("rb") as stream:
            head, _, _rest = stream.read(_LONGEST_HEADER).partition(b"\0")
        kind, _, size = head.partition(b" ")
        if not size.isdigit():
            return None
        for expected in ("blob", "tree", "commit"):
            if kind == expected.encode():
                return Content(expected, int(size), _chunks(path, len(head) + 1))
        return None

    return read


def _chunks(path: Path, start: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        stream.seek(start)
        while chunk := stream.read(_CHUNK):
            yield chunk
