"""Tests of running tasks in worker processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from prov.errors import BuildError, ProvError
from prov.scheduler.executor import LocalExecutor
from prov.store.repository import Store
from prov.tasks.job import Workspace
from tests.tasks.samples import job_of, node_of, paths_of, workspace_of

pytestmark = pytest.mark.process


def test_an_error_of_a_task_is_raised(store: Store, tmp_path: Path) -> None:
    workspace = workspace_of(store, tmp_path / "work")
    executor = LocalExecutor(workspace)
    # its directory cannot be expanded, which fails before anything runs
    node = node_of(task={"dir": "${NOTHING}"})
    job = job_of(node, paths_of(workspace.workdir(node, "compile")))

    async def run() -> None:
        await executor.start()
        try:
            async with executor.slot(node) as slot:
                await slot.run(job)
        finally:
            await executor.close()

    with pytest.raises(ProvError, match=r"\$\{NOTHING\} is not set"):
        asyncio.run(run())


def double(_workspace: Workspace, number: int) -> int:
    return 2 * number


def fail(_workspace: Workspace) -> None:
    raise BuildError("no disk", hint="add one")


def end(_workspace: Workspace) -> None:
    os._exit(9)


def test_functions_are_called_in_a_worker(store: Store, tmp_path: Path) -> None:
    executor = LocalExecutor(workspace_of(store, tmp_path / "work"))

    async def run() -> None:
        assert await executor.call("two", double, 21) == 42
        with pytest.raises(BuildError, match="no disk") as failure:
            await executor.call("two", fail)
        assert failure.value.hint == "add one"
        with pytest.raises(ProvError, match="the process for two exited with status 9"):
            await executor.call("two", end)
        assert await executor.call("two", double, 2) == 4
        await executor.close()

    asyncio.run(run())


def test_slots_are_limited(store: Store, tmp_path: Path) -> None:
    executor, node = LocalExecutor(workspace_of(store, tmp_path / "work"), 2), node_of()

    async def run() -> None:
        await executor.start()
        async with executor.slot(node) as one, executor.slot(node):
            assert (one.place, one.jobs) == ("", 2)
            assert one.makeflags.startswith("-j2 --jobserver-auth=")
            waiting = asyncio.ensure_future(executor.slot(node).__aenter__())
            await asyncio.sleep(0.05)
            assert not waiting.done()
        await waiting
        await executor.close()

    asyncio.run(run())
