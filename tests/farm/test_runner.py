"""The process that runs a worker's orders."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.farm.credentials import create_farm, issue
from prov.farm.perform import Site
from prov.farm.runner import OrderRunner
from prov.store.repository import Store

pytestmark = pytest.mark.process


@pytest.fixture
def runner(tmp_path: Path, store: Store) -> OrderRunner:
    create_farm(tmp_path / "farm", [])
    own = issue(tmp_path / "farm", tmp_path / "w", "w", "worker")
    site = Site(own, store, "/usr/bin/bwrap", tmp_path / "work", dict(os.environ), 2)
    return OrderRunner.start(site)


def test_errors_of_orders_are_raised(runner: OrderRunner) -> None:
    async def story() -> None:
        await runner.open()
        messages = [runner.run(f"{number}", b"nonsense") for number in range(5)]
        for error in await asyncio.gather(*messages, return_exceptions=True):
            assert isinstance(error, ProvError)
            assert "is not signed" in str(error)
        runner.stop("unknown")
        runner.close()

    asyncio.run(story())


def test_orders_end_with_the_runner(runner: OrderRunner) -> None:
    async def story() -> None:
        await runner.open()
        os.kill(runner.pid, 9)
        with pytest.raises(ProvError, match="the process that runs orders ended"):
            await asyncio.wait_for(runner.run("1", b"x"), 10)
        runner.close()

    asyncio.run(story())
