"""The coordinator's side of a Dask cluster: its workers, and the orders sent to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prov.errors import ProvError
from prov.farm.credentials import Credentials
from prov.farm.processes import (
    NETWORK,
    PROV,
    quiet_dask,
    require_dask,
    run_order,
    security_of,
    stop_order,
)

if TYPE_CHECKING:
    from distributed import Client

LOOK = 0.5
"""Seconds between two looks at the workers of a cluster."""
TIMEOUT = 10
"""Seconds to wait for a scheduler."""


class WorkerLost(Exception):
    """A worker ended, or lost its connection, while it ran an order."""


@dataclass(slots=True, eq=False)
class Machine:
    """A worker of the cluster, as the coordinator sees it."""

    address: str
    name: str
    jobs: int
    offers_network: bool
    orders: int = 0
    """The number of this build's orders there."""
    is_reserved: bool = False
    """Whether one task runs there alone."""
    is_late: bool = False
    """Whether an order there is late; it then receives no others."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_free(self) -> bool:
        is_usable = not (self.is_reserved or self.is_late or self.lost.is_set())
        return is_usable and self.orders < self.jobs

    def recover(self) -> None:
        """Use the worker again after its late order has ended."""
        self.is_late = False


@dataclass(slots=True)
class Cluster:
    """A connection to a Dask scheduler."""

    url: str
    credentials: Credentials
    looked: Callable[[], None] = lambda: None
    """Called after each look at the workers."""
    machines: dict[str, Machine] = field(default_factory=dict)
    _client: Client | None = None
    _watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect to the scheduler. Raises ProvError."""
        require_dask()
        quiet_dask()
        from distributed import Client

        await self._check_address()
        client = Client(
            self.url,
            asynchronous=True,
            security=security_of(self.credentials),
            timeout=TIMEOUT,
            set_as_default=False,
        )
        try:
            self._client = await client
        except Exception as error:  # Dask raises errors of many kinds
            raise self._unreachable(error) from error
        await self._look()
        self._watch = asyncio.create_task(self._watch_workers())

    async def _check_address(self) -> None:
        """Raise ProvError if nothing listens at the address: Dask would retry for some time."""
        address = urlsplit(self.url)
        try:
            _, writer = await asyncio.open_connection(address.hostname, address.port)
        except OSError as error:
            raise self._unreachable(error) from error
        writer.close()

    def _unreachable(self, error: Exception) -> ProvError:
        return ProvError(
            f"cannot reach the farm {self.url}: {error}",
            hint="check its address, and that its scheduler runs; or build without --farm",
        )

    @property
    def dashboard(self) -> str:
        """The address of Dask's dashboard; empty if it has none."""
        link = self._client.dashboard_link if self._client is not None else ""
        return str(link or "")

    async def _watch_workers(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            with contextlib.suppress(OSError):
                await self._look()

    async def _look(self) -> None:
        """Update the workers."""
        assert self._client is not None
        scheduler = self._client.scheduler
        assert scheduler is not None
        state = await scheduler.identity(n_workers=-1)
        present: dict[str, Machine] = {}
        for address, row in state["workers"].items():
            resources = row.get("resources") or {}
            if not resources.get(PROV):
                continue  # a Dask worker that does not run orders
            present[address] = self.machines.get(address) or Machine(
                address, str(row["name"]), row["nthreads"], bool(resources.get(NETWORK))
            )
        gone = [machine for address, machine in self.machines.items() if address not in present]
        self.machines = present
        for machine in gone:
            machine.lost.set()
        self.looked()

    async def run(self, machine: Machine, name: str, message: bytes) -> bytes:
        """Run an order at a worker; return its receipt.

        Raises WorkerLost, and ProvError if the worker rejects the order.
        """
        assert self._client is not None
        future = self._client.submit(
            run_order,
            name,
            message,
            key=f"{name}@{machine.name}",
            workers=[machine.address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        answer = asyncio.ensure_future(future.result())
        lost = asyncio.ensure_future(machine.lost.wait())
        try:
            await asyncio.wait([answer, lost], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise WorkerLost(machine.name)
            return self._receipt(answer, machine)
        except asyncio.CancelledError:
            self._stop(machine, name)
            raise
        finally:
            answer.cancel()
            lost.cancel()
            # otherwise Dask would run finished orders again when a worker is lost
            future.release()

    @staticmethod
    def _receipt(answer: asyncio.Future[Any], machine: Machine) -> bytes:
        try:
            receipt = answer.result()
        except ProvError:
            raise
        except Exception as error:  # Dask's KilledWorker, or an import error of the worker
            if type(error).__name__ in ("KilledWorker", "CancelledError"):
                raise WorkerLost(machine.name) from error
            raise ProvError(f"worker {machine.name}: {type(error).__name__}: {error}") from error
        if not isinstance(receipt, bytes):
            raise ProvError(f"worker {machine.name} answered with {type(receipt).__name__}")
        return receipt

    def _stop(self, machine: Machine, name: str) -> None:
        """Ask a worker to stop an order."""
        if self._client is None or machine.lost.is_set():
            return
        request = self._client.run(stop_order, name, workers=[machine.address], wait=False)
        task = asyncio.ensure_future(request)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        """Disconnect."""
        if self._watch is not None:
            self._watch.cancel()
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.close(timeout=2)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A connected worker of a farm."""

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


def read_status(url: str, credentials: Credentials) -> FarmStatus:
    """Return the state of a farm. Raises ProvError if it cannot be reached."""

    async def read() -> FarmStatus:
        cluster = Cluster(url, credentials)
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
