"""Run tasks on this machine, in worker processes."""

from __future__ import annotations

import io
import pickle
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, cast

from prov.recipes.graph import Node
from prov.records.keys import TaskKey
from prov.scheduler.jobserver import Jobserver
from prov.scheduler.task_workers import TaskWorkers
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Workspace
from prov.tasks.taskhash import OwnInputs

Answer = TypeVar("Answer")


class Slot(Protocol):
    """The right to run one task, at one place."""

    @property
    def place(self) -> str:
        """The name of the machine that runs the task; empty: this one."""

    @property
    def jobs(self) -> int:
        """The number of jobs that the task's programs may run."""

    @property
    def makeflags(self) -> str:
        """The value of MAKEFLAGS for the task."""

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """The file descriptors that the task's programs inherit."""

    async def run(self, job: Job) -> Result:
        """Run a task and return its result.

        Raises ProvError or OSError for a failure not caused by the task.
        """


class Executor(Protocol):
    """Runs tasks. Use it in one event loop."""

    async def start(self) -> None:
        """Prepare to run tasks."""

    def slot(self, node: Node) -> AbstractAsyncContextManager[Slot]:
        """Wait until a task may run; yield a slot to run it in this context."""

    def kill(self, number: int) -> None:
        """Send a signal to all running tasks."""

    async def close(self) -> None:
        """End the processes that run tasks."""


@dataclass(slots=True)
class LocalExecutor:
    """Runs each task in one of several worker processes, which it starts when all are busy."""

    workspace: Workspace
    jobs: int = 1
    nodes: Mapping[TaskKey, Node] = field(default_factory=dict)
    own: Mapping[TaskKey, OwnInputs] = field(default_factory=dict)
    """The nodes and inputs that the workers inherit. Jobs then contain only their keys."""
    _workers: TaskWorkers = field(init=False)
    _jobserver: Jobserver | None = None

    def __post_init__(self) -> None:
        self._workers = TaskWorkers(self._answer)

    async def start(self) -> None:
        """Create the jobserver that all tasks of this machine share."""
        self._jobserver = Jobserver(self.jobs)

    @asynccontextmanager
    async def slot(self, node: Node) -> AsyncIterator[Slot]:
        """Wait for a job of this machine."""
        assert self._jobserver is not None
        await self._jobserver.acquire()
        try:
            yield _LocalSlot(self, self._jobserver)
        finally:
            self._jobserver.release()

    async def run_instead(self, job: Job) -> Result:
        """Run a job that was made for a slot elsewhere, when this machine has a free one."""
        async with self.slot(job.node) as slot:
            flags, fds = slot.makeflags, slot.pass_fds
            return await slot.run(replace(job, jobs=slot.jobs, makeflags=flags, pass_fds=fds))

    async def call(self, what: str, function: Callable[..., Answer], *arguments: object) -> Answer:
        """Call `function(workspace, *arguments)` in a worker process; return its result.

        Raises its exception, and ProvError, naming `what`, if the process ends without an answer.
        """
        request = io.BytesIO()
        _JobPickler(request, self.nodes, self.own).dump((function, arguments))
        return cast(Answer, await self._workers.run(request.getvalue(), what))

    def _answer(self, request: bytes) -> object:
        """Answer a request, in a worker process."""
        function, arguments = _JobUnpickler(io.BytesIO(request), self.nodes, self.own).load()
        return function(self.workspace, *arguments)

    def kill(self, number: int) -> None:
        """Send a signal to all workers and the commands of their tasks."""
        self._workers.kill(number)

    async def close(self) -> None:
        """End the workers."""
        self._workers.close()
        if self._jobserver is not None:
            self._jobserver.close()


@dataclass(frozen=True, slots=True)
class _LocalSlot:
    """A job of this machine."""

    executor: LocalExecutor
    jobserver: Jobserver
    place: str = ""

    @property
    def jobs(self) -> int:
        return self.jobserver.jobs

    @property
    def makeflags(self) -> str:
        return self.jobserver.makeflags

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return self.jobserver.pass_fds

    async def run(self, job: Job) -> Result:
        return await self.executor.call(job.node.key, run_task, job)


_NODE, _OWN = "node", "own"


class _JobPickler(pickle.Pickler):
    """Replaces nodes and inputs that the worker has by their keys."""

    def __init__(
        self, file: io.BytesIO, nodes: Mapping[TaskKey, Node], own: Mapping[TaskKey, OwnInputs]
    ) -> None:
        super().__init__(file, protocol=5)
        self._nodes, self._own = nodes, own
        self._key = TaskKey()

    def persistent_id(self, value: object) -> tuple[str, str] | None:
        if isinstance(value, Job):
            self._key = value.node.key
        elif isinstance(value, Node) and self._nodes.get(value.key) is value:
            return _NODE, str(value.key)
        elif isinstance(value, OwnInputs) and self._own.get(self._key) is value:
            return _OWN, str(self._key)
        return None


class _JobUnpickler(pickle.Unpickler):
    """Reads what `_JobPickler` wrote."""

    def __init__(
        self, file: io.BytesIO, nodes: Mapping[TaskKey, Node], own: Mapping[TaskKey, OwnInputs]
    ) -> None:
        super().__init__(file)
        self._tables: dict[str, Mapping[TaskKey, object]] = {_NODE: nodes, _OWN: own}

    def persistent_load(self, pid: tuple[str, str]) -> object:
        table, key = pid
        return self._tables[table][TaskKey(key)]
