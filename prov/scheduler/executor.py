"""Where tasks run: on this machine, in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from prov.scheduler.workers import Workers
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Workspace


class Executor(Protocol):
    """A place where tasks run."""

    async def run(self, job: Job) -> Result:
        """Run a task; return how it went.

        Raises ProvError or OSError for a failure that is not the task's own.
        """

    def kill(self, number: int) -> None:
        """Send a signal to all tasks that run."""


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
        """Send a signal to all workers, and to everything that they started."""
        self.workers.kill(number)
