"""The coordinator's view of Dask's workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.farm.cluster import Cluster, Machine, WorkerLost, read_status
from prov.farm.credentials import Credentials
from tests.farm.machines import Machines, machines, until

pytestmark = pytest.mark.process


def test_workers_join_and_leave(tmp_path: Path) -> None:
    with machines(tmp_path / "home", "w1") as farm:
        own = Credentials(farm.credentials)
        assert [worker.name for worker in read_status(farm.address, own).workers] == ["w1"]

        async def watch() -> Machine:
            looks: list[int] = []
            cluster = Cluster(farm.address, own, lambda: looks.append(len(cluster.machines)))
            await cluster.open()
            (machine,) = cluster.machines.values()
            farm.kill("w1")
            await asyncio.wait_for(machine.lost.wait(), 30)
            assert cluster.machines == {}
            assert looks[0] == 1
            assert looks[-1] == 0
            with pytest.raises(WorkerLost, match="w1"):
                await cluster.run(machine, "1" * 40, b"")
            await cluster.close()
            return machine

        assert asyncio.run(watch()).jobs == 1


def test_an_unsigned_order_runs_nothing(farm: Machines) -> None:
    own = Credentials(farm.credentials)

    async def send() -> None:
        cluster = Cluster(farm.address, own)
        await cluster.open()
        machine = next(iter(cluster.machines.values()))
        try:
            with pytest.raises(ProvError, match="is not signed"):
                await cluster.run(machine, "1" * 40, b"{}")
        finally:
            await cluster.close()

    asyncio.run(send())
    until(lambda: farm.run("farm", "status", farm.address).returncode == 0, "answer")
