"""List the workers of a farm."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from prov.farm.cluster import Cluster
from prov.farm.identity import Identity


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that is connected to the scheduler."""

    name: str
    address: str
    jobs: int
    offers_network: bool


@dataclass(frozen=True, slots=True)
class FarmStatus:
    """The connected workers of a farm, sorted by name."""

    url: str
    dashboard: str
    """The address of Dask's dashboard; empty if it has none."""
    workers: list[WorkerStatus]


def read_status(url: str, identity: Identity) -> FarmStatus:
    """Return the state of a farm. Raises ProvError if it cannot be reached."""

    async def read() -> FarmStatus:
        cluster = Cluster(url, identity)
        await cluster.open()
        try:
            workers = [
                WorkerStatus(machine.name, machine.address, machine.jobs, machine.offers_network)
                for machine in cluster.machines.values()
            ]
            workers.sort(key=lambda worker: worker.name)
            return FarmStatus(url, cluster.dashboard, workers)
        finally:
            await cluster.close()

    return asyncio.run(read())
