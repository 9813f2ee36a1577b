"""Start a scheduler of a farm, and workers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Callable, Sequence

from prov.errors import ProvError
from prov.farm.credentials import Credentials
from prov.farm.worker import quiet_dask, require_dask, security_of

SECONDS_TO_STOP = 5.0


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
            host=host, port=port, protocol="tls", security=security_of(credentials), dashboard=False
        )
        try:
            await scheduler
        except Exception as error:  # Dask raises errors of many kinds
            raise ProvError(
                f"cannot start a scheduler at {host}:{port}: {error}",
                hint="use a different --port, or stop the process that uses this one",
            ) from error
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
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
