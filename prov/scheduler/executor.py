"""Run tasks on this machine, in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from prov.scheduler.workers import Workers
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Workspace


class Executor(Protocol):
    """Runs tasks."""

    async def run(self, job: Job) -> Result:
        """Run a task and return its result.

        Raises ProvError or OSError for a failure not caused by the task.
        """

    def kill(self, number: int) -> None:
        """Send a signal to all running tasks."""


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs each task in a worker process of its own."""

    workspace: Workspace
    workers: Workers

    async def run(self, job: Job) -> Result:
        """Run a task in a fork of this process."""
        answer = await self.workers.run(lambda: run_task(self.workspace, job), job.node.key)
        return cast(Result, answer)

    def kill(self, number: int) -> None:
        """Send a signal to all workers and their descendants."""
        self.workers.kill(number)
