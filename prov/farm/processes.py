"""The processes of a Dask cluster: workers that run orders, and a scheduler.

Only this module and `cluster` import Dask.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prov.errors import ProvError
from prov.farm.credentials import INSTALL, Credentials
from prov.farm.runner import OrderRunner

if TYPE_CHECKING:
    from distributed import Security

NETWORK = "network"
"""The Dask resource of workers that offer a network."""
PROV = "prov"
"""The Dask resource of workers that run orders."""
LOOPBACK = "127.0.0.1:0"
"""The address of the pages that Dask serves without TLS."""
TIMEOUT = "20s"
"""How long a worker waits for its scheduler."""
SECONDS_TO_STOP = 5.0
"""Seconds after which processes that do not end are killed."""

_runner: OrderRunner | None = None
"""The runner of this process."""


async def run_order(name: str, message: bytes) -> bytes:
    """Run an order; return the signed receipt. Dask calls this in a worker process."""
    if _runner is None:
        raise ProvError("this Dask worker was not started by `prov worker`")
    return await _runner.run(name, message)


async def stop_order(name: str) -> None:
    """Stop an order. Dask calls this in a worker process."""
    if _runner is not None:
        _runner.stop(name)


def require_dask() -> None:
    """Raise ProvError if Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ProvError(f"a farm requires Dask: {error}", hint=INSTALL) from error


def quiet_dask() -> None:
    """Stop Dask from logging; the caller reports errors."""
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def security_of(credentials: Credentials) -> Security:
    """Return the settings of mutual TLS for Dask's connections."""
    from distributed import Security

    names = ("client", "worker", "scheduler")
    files = {f"tls_{name}_cert": str(credentials.certificate) for name in names}
    files |= {f"tls_{name}_key": str(credentials.key) for name in names}
    return Security(require_encryption=True, tls_ca_file=str(credentials.authority), **files)


def run_worker(
    runner: OrderRunner,
    credentials: Credentials,
    scheduler: str,
    *,
    name: str,
    jobs: int,
    offers_network: bool,
    folder: Path,
    report: Callable[[str], object],
) -> None:
    """Join a scheduler and run orders until SIGINT or SIGTERM, or until the scheduler ends.

    `folder` is Dask's folder for temporary files. Raises ProvError if the scheduler cannot be
    reached.
    """
    global _runner
    require_dask()
    quiet_dask()
    _runner = runner
    resources = {PROV: float(jobs), NETWORK: float(jobs if offers_network else 0)}

    async def work() -> None:
        from distributed import Worker

        await runner.open()
        worker = Worker(
            scheduler,
            nthreads=jobs,
            name=name,
            security=security_of(credentials),
            resources=resources,
            local_directory=str(folder),
            memory_limit=0,
            dashboard_address=LOOPBACK,
            death_timeout=TIMEOUT,
        )
        try:
            await worker
        except Exception as error:  # Dask raises errors of many kinds
            raise ProvError(
                f"cannot join the scheduler {scheduler}: {error}",
                hint="check its address, and that the worker's credentials are of the same farm",
            ) from error
        report(f"worker {name} runs up to {jobs} jobs for {scheduler}")
        stopped = _stop_event()
        waits = (stopped.wait(), worker.finished(), runner.ended.wait())
        ends = [asyncio.create_task(wait) for wait in waits]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(Exception):
            await worker.close(timeout=2)
        for task in ends:
            task.cancel()
        if runner.ended.is_set():
            raise ProvError("the process that runs orders ended", hint="start the worker again")

    try:
        asyncio.run(work())
    finally:
        runner.close()


def run_scheduler(
    credentials: Credentials,
    host: str,
    port: int,
    workers: Callable[[str], Sequence[Sequence[str]]],
    report: Callable[[str], object],
) -> None:
    """Run a scheduler and workers until SIGINT or SIGTERM.

    `workers` returns the workers' commands for the scheduler's address. `report` is called with
    this address. Raises ProvError if the scheduler cannot start.
    """
    require_dask()
    quiet_dask()

    async def work() -> None:
        from distributed import Scheduler

        scheduler = Scheduler(
            host=host,
            port=port,
            protocol="tls",
            security=security_of(credentials),
            dashboard_address=LOOPBACK,
        )
        try:
            await scheduler
        except Exception as error:  # Dask raises errors of many kinds
            raise ProvError(
                f"cannot start a scheduler at {host}:{port}: {error}",
                hint="use a different --port, or stop the process that uses this one",
            ) from error
        stopped = _stop_event()
        processes = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
            for command in workers(scheduler.address)
        ]
        report(scheduler.address)
        try:
            await stopped.wait()
        finally:
            _stop(processes)
            with contextlib.suppress(Exception):
                await scheduler.close()

    asyncio.run(work())


def _stop_event() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate processes, and kill those that do not end in time."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
