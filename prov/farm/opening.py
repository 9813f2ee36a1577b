"""Open a farm for a build: its exchange, how workers reach it, and the executor."""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from prov.errors import ProvError
from prov.farm.accept import accept
from prov.farm.credentials import AUTHORITY_KEY, Credentials, issue
from prov.farm.exchange import FOLDER, Exchange, abandoned_exchanges, open_exchange
from prov.farm.executor import FarmExecutor, FarmOptions
from prov.farm.placement import critical_paths
from prov.farm.serve import serving
from prov.records.build_list import BuildList
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.scheduler.executor import LocalExecutor
from prov.scheduler.plan import Plan
from prov.store.repository import Store

_HTTPS = re.compile(r"https://(?P<host>[^/:\[\]]+|\[[0-9a-fA-F:]+\])(:(?P<port>[0-9]{1,5}))?/?")


@dataclass(frozen=True, slots=True)
class FarmSettings:
    """The table `[farm]` of prov.toml, with the options of the command line."""

    url: str
    credentials: Path
    repository: str = ""
    """How workers reach the store: `https://HOST[:PORT]`, `ssh://USER@HOST`, or `file` for workers
    that share its folder; empty: by the scheduler's address.
    """
    verify: float = 0.0
    shortest: float | None = None


@dataclass(frozen=True, slots=True)
class Farm:
    """An open farm."""

    store: Store
    credentials: Credentials
    exchange: Exchange
    options: FarmOptions
    note: Callable[[str], None]

    def executor(self, local: LocalExecutor, plan: Plan) -> FarmExecutor:
        """Return the executor of a build."""
        expected = recorded_seconds(self.store, [step.key for step in plan.work])
        return FarmExecutor(
            local,
            plan.graph,
            self.credentials,
            self.exchange,
            self.options,
            self.note,
            expected,
            critical_paths(plan.graph, expected),
        )


@contextmanager
def open_farm(store: Store, settings: FarmSettings, note: Callable[[str], None]) -> Iterator[Farm]:
    """Yield a farm for one build. First records the results that a killed build left.

    Raises ProvError.
    """
    scheduler = urlsplit(settings.url)
    if scheduler.scheme != "tls" or not scheduler.hostname or not scheduler.port:
        raise ProvError(
            f"invalid address of a farm: {settings.url!r}",
            hint="use the address of a Dask scheduler, such as tls://build1:8786",
        )
    credentials = Credentials.open(settings.credentials)
    for text in recover(store, credentials):
        note(text)
    with contextlib.ExitStack() as stack:
        exchange = stack.enter_context(open_exchange(store))
        way = settings.repository or _way_of(scheduler.hostname, scheduler.port)
        base = stack.enter_context(_reachable(store, credentials, way))
        options = FarmOptions(
            settings.url, f"{base}/{exchange.folder.name}", settings.verify, settings.shortest
        )
        yield Farm(store, credentials, exchange, options, note)


def recover(store: Store, credentials: Credentials) -> list[str]:
    """Record the results that workers pushed for killed builds; return notes for the user."""
    notes = []
    with abandoned_exchanges(store) as exchanges:
        for exchange in exchanges:
            for order in exchange.results():
                try:
                    accepted = accept(store, credentials, exchange, order, False)
                except ProvError as error:
                    notes.append(f"a result of an earlier build was dropped: {error}")
                else:
                    store.objects.refresh()
                    notes.append(
                        f"{accepted.result.key}: recorded the result that {accepted.worker} sent to"
                        " an earlier build"
                    )
                exchange.withdraw([order])
    return notes


def recorded_seconds(store: Store, keys: Iterable[TaskKey]) -> dict[TaskKey, float]:
    """Return how long the scripts of tasks took when they last ran, in seconds."""
    last, records = BuildList.latest_of_tasks(store), Records(store)
    seconds: dict[TaskKey, float] = {}
    for key in keys:
        line = last.line(key) if last else None
        commit = records.last_run(key, line.task_hash)[1] if line else None
        if commit is not None:
            with contextlib.suppress(ValueError, ProvError):
                seconds[key] = float(records.facts(commit).get("seconds", ""))
    return seconds


def _way_of(host: str, port: int) -> str:
    """Return how workers of a scheduler reach this machine, if the user does not choose."""
    own = _own_address(host, port)
    if ip_address(own).is_loopback:
        return "file"
    return f"https://[{own}]" if ":" in own else f"https://{own}"


def _own_address(host: str, port: int) -> str:
    """Return the address of this machine from which it reaches a host. Raises ProvError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:  # sends nothing
            probe.connect((host, port))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ProvError(
            f"cannot reach {host}: {error.strerror or error}",
            hint="check the address of the farm",
        ) from error


@contextmanager
def _reachable(store: Store, credentials: Credentials, way: str) -> Iterator[str]:
    """Make the exchanges of a store reachable for workers; yield their base URL."""
    top = store.cache / FOLDER
    if way == "file":
        yield str(top)
        return
    if way.startswith("ssh://"):
        yield f"{way.rstrip('/')}{top}"
        return
    parts = _HTTPS.fullmatch(way)
    if parts is None:
        raise ProvError(
            f"invalid repository of a farm: {way!r}",
            hint="use https://HOST, https://HOST:PORT, ssh://USER@HOST or file",
        )
    host = parts["host"].strip("[]")
    with _server_credentials(credentials, host) as server:
        try:
            with serving(top, server, host, int(parts["port"] or 0)) as base:
                yield base
        except OSError as error:
            raise ProvError(
                f"cannot serve the store at {way}: {error.strerror or error}",
                hint="set `repository` in [farm] to an address of this machine",
            ) from error


@contextmanager
def _server_credentials(credentials: Credentials, host: str) -> Iterator[Credentials]:
    """Yield credentials whose certificate names a host, if this machine can issue one."""
    if not (credentials.folder / AUTHORITY_KEY).is_file():
        yield credentials
        return
    with tempfile.TemporaryDirectory(prefix="prov-farm-") as folder:
        yield issue(credentials.folder, Path(folder), "coordinator", "coordinator", [host])
