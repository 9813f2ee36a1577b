"""Run tasks on this machine, in worker processes."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from prov.recipes.graph import Node
from prov.records.keys import TaskKey
from prov.scheduler.task_workers import TaskWorkers
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Workspace
from prov.tasks.taskhash import OwnInputs


class Executor(Protocol):
    """Runs tasks."""

    async def run(self, job: Job) -> Result:
        """Run a task and return its result.

        Raises ProvError or OSError for a failure not caused by the task.
        """

    def kill(self, number: int) -> None:
        """Send a signal to all running tasks."""

    def close(self) -> None:
        """End the processes that run tasks."""


@dataclass(slots=True)
class LocalExecutor:
    """Runs each task in one of several worker processes, which it starts when all are busy."""

    workspace: Workspace
    nodes: Mapping[TaskKey, Node] = field(default_factory=dict)
    own: Mapping[TaskKey, OwnInputs] = field(default_factory=dict)
    """The nodes and inputs that the workers inherit. Jobs then contain only their keys."""
    _workers: TaskWorkers = field(init=False)

    def __post_init__(self) -> None:
        self._workers = TaskWorkers(self._run_task)

    async def run(self, job: Job) -> Result:
        """Run a task in a worker process."""
        request = io.BytesIO()
        _JobPickler(request, self.nodes, self.own).dump(job)
        return cast(Result, await self._workers.run(request.getvalue(), job.node.key))

    def _run_task(self, request: bytes) -> Result:
        """Run the task of a request, in a worker process."""
        job = _JobUnpickler(io.BytesIO(request), self.nodes, self.own).load()
        return run_task(self.workspace, cast(Job, job))

    def kill(self, number: int) -> None:
        """Send a signal to all workers and the commands of their tasks."""
        self._workers.kill(number)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()


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
