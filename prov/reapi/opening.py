"""Prepare a Remote Execution API server for a build."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.reapi.address import Address, ClientCredentials
from prov.reapi.connection import require_grpc
from prov.reapi.executor import ReapiExecutor
from prov.reapi.transfer import Server, Transfers
from prov.scheduler.executor import LocalExecutor
from prov.scheduler.plan import Plan
from prov.scheduler.workers import Workers
from prov.store.repository import Store


@dataclass(frozen=True, slots=True)
class ReapiSettings:
    """The table `[farm]` of prov.toml, with the options of the command line."""

    url: str
    credentials: Path
    properties: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    actions: int = 8
    jobs: int = 1


def open_server(
    store: Store, settings: ReapiSettings, note: Callable[[str], None]
) -> Callable[[LocalExecutor, Plan], ReapiExecutor]:
    """Return a function that returns the executor of a build.

    Raises ProvError for invalid settings; the function also if the server cannot be reached, or
    cannot run tasks, and there are some.
    """
    address = Address.parse(settings.url)
    require_grpc()
    server = Server(
        address=address,
        credentials=ClientCredentials.read(settings.credentials),
        properties=settings.properties,
        python=settings.python or f"python{sys.version_info.major}.{sys.version_info.minor}",
        jobs=settings.jobs,
    )

    def executor(local: LocalExecutor, plan: Plan) -> ReapiExecutor:
        if plan.work:
            # in a different process: gRPC starts threads, and this one forks
            asyncio.run(_check(Transfers(store, server)))
        return ReapiExecutor(local, server, settings.actions, note)

    return executor


async def _check(transfers: Transfers) -> None:
    url = transfers.server.address.url
    await Workers().run(transfers.check, f"the check of {url}")
