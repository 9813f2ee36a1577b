"""Tests of running tasks in worker processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.scheduler.executor import LocalExecutor
from prov.store.repository import Store
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
