"""A farm without Dask: orders and receipts pass between a build and workers in this process.

git, bubblewrap, certificates and stores are real.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prov.farm.cluster import Cluster, Machine, WorkerLost
from prov.farm.credentials import Credentials, create_farm, issue
from prov.farm.exchange import Exchange, open_exchange
from prov.farm.executor import FarmExecutor, FarmOptions
from prov.farm.opening import recorded_seconds
from prov.farm.perform import Site, perform
from prov.farm.placement import critical_paths
from prov.recipes.project import Project
from prov.scheduler.executor import LocalExecutor
from prov.scheduler.plan import Plan
from prov.scheduler.session import Request, Session
from prov.scheduler.summary import RunOptions, Summary
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of
from prov.tasks.sandbox import bubblewrap
from tests.scheduler.builds import Shown

Answer = Callable[[Site, bytes], bytes]


def honest(site: Site, message: bytes) -> bytes:
    """Answer an order as a worker does."""
    return perform(site, message, "", ())


@dataclass
class DirectCluster(Cluster):
    """Calls a function for each order."""

    sites: dict[str, Site] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    """The workers that received orders."""
    delays: dict[str, float] = field(default_factory=dict)
    """Worker -> seconds before it answers."""

    async def open(self) -> None:
        self.machines = {name: Machine(name, name, 1, False) for name in self.sites}
        self.looked()

    async def run(self, machine: Machine, name: str, message: bytes) -> bytes:
        self.orders.append(machine.name)
        await asyncio.sleep(self.delays.get(machine.name, 0))
        try:
            return self.answers.get(machine.name, honest)(self.sites[machine.name], message)
        except ConnectionError as error:
            machine.lost.set()
            self.machines.pop(machine.name)
            raise WorkerLost(machine.name) from error

    async def close(self) -> None:
        pass


@dataclass
class DirectFarm:
    """A farm with workers w1 and w2, in a folder."""

    folder: Path
    credentials: Credentials = field(init=False)
    sites: dict[str, Site] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    delays: dict[str, float] = field(default_factory=dict)
    verify: float = 0.0

    def __post_init__(self) -> None:
        self.credentials = create_farm(self.folder / "farm", ["localhost"])
        for name in ("w1", "w2"):
            self.add(name)

    def add(self, name: str) -> None:
        """Add a worker with a store of its own."""
        folder = self.folder / name
        store = Store.create(folder / "store")
        bwrap = bubblewrap("bwrap")
        assert bwrap is not None
        self.sites[name] = Site(
            credentials=issue(self.credentials.folder, folder / "own", name, "worker"),
            store=store,
            sandbox=bwrap,
            work=folder / "work",
            environment=dict(os.environ),
            jobs=1,
        )

    def build(self, project: Path) -> tuple[Summary, Shown]:
        """Build all recipes of a project on the farm; return the summary and what was shown."""
        session = session_of(project)
        shown = Shown()
        with open_exchange(session.store) as exchange:

            def executor(local: LocalExecutor, plan: Plan) -> FarmExecutor:
                return self._executor(session.store, exchange, shown, local, plan)

            summary, _ = session.build(Request(("world",)), shown, RunOptions(jobs=1), executor)
        return summary, shown

    def _executor(
        self, store: Store, exchange: Exchange, shown: Shown, local: LocalExecutor, plan: Plan
    ) -> FarmExecutor:
        expected = recorded_seconds(store, plan.graph.nodes)
        options = FarmOptions("", str(exchange.folder), self.verify, 0.0)
        paths = critical_paths(plan.graph, expected)
        made = FarmExecutor(
            local, plan.graph, self.credentials, exchange, options, shown.note, expected, paths
        )
        looked = made.cluster.looked
        made.cluster = DirectCluster(
            "",
            self.credentials,
            looked,
            sites=self.sites,
            answers=self.answers,
            orders=self.orders,
            delays=self.delays,
        )
        return made


def session_of(project: Path) -> Session:
    """Open a project and its store, which is created if it is missing."""
    store = Store.create(project / ".prov")
    return Session(Project.load(project), store, partial(sysroots_of, store), dict(os.environ))
