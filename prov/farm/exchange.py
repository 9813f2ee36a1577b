"""The exchange: a repository beside the store where orders wait and results arrive.

It reads the store's objects; workers push to it, and never to the store. Each build has its own.

| ref | commit |
|---|---|
| `refs/orders/ORDER` | an order; git omits its objects when a worker pushes the result |
| `refs/incoming/ORDER` | a result that the coordinator has not examined yet |
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prov.farm.order import Assignment
from prov.files import (
    locked,
    read_cache,
    remove_tree,
    try_locked,
    write_cache,
    write_scratch,
)
from prov.intake.source import Source
from prov.records.ids import CommitId
from prov.remote.git_remote import object_source
from prov.store.objects import Oid
from prov.store.refs import RefStore, RefUpdate
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.git import Transport, make_scratch

ORDERS, INCOMING = "refs/orders/", "refs/incoming/"
# Packs without deltas, because prov reads them without starting git.
_SETTINGS = """\
[receive]
	unpackLimit = 1
	autogc = false
[pack]
	window = 0
"""
KEPT = "refs/farm/"
"""Refs of a worker's store: the orders and results that it keeps."""
FOLDER = "farm"
"""The folder of exchanges in a store's cache."""
LEFT_AFTER = 86_400.0
"""Seconds to keep the exchange of a killed build for late results."""
_SCRATCH = "order-"
_HEX = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """The exchange of one build, as the coordinator sees it."""

    folder: Path

    @property
    def refs(self) -> RefStore:
        return _refs_of(self.folder)

    def offer(self, order: CommitId) -> None:
        """Let workers fetch an order."""
        self.refs.update(RefUpdate(f"{ORDERS}{order.hex()}", order))

    def source(self) -> Source:
        """Return a reader of the objects that workers pushed."""
        return object_source(self.folder)

    def results(self) -> dict[CommitId, CommitId]:
        """Return the results that are not withdrawn, by their orders."""
        rows = self.refs.list(INCOMING)
        orders = {name.removeprefix(INCOMING): oid for name, oid in rows.items()}
        return {
            CommitId(bytes.fromhex(name)): CommitId(oid)
            for name, oid in orders.items()
            if _HEX.fullmatch(name)
        }

    def result(self, order: CommitId) -> CommitId | None:
        """Return the result of an order; None if there is none."""
        commit = self.refs.get(f"{INCOMING}{order.hex()}")
        return CommitId(commit) if commit is not None else None

    def waits(self) -> bool:
        """Return whether there are orders that are not withdrawn."""
        return bool(self.refs.list(ORDERS))

    def withdraw(self, orders: Sequence[CommitId]) -> None:
        """Delete the refs of orders and of their results."""
        names = [f"{kind}{order.hex()}" for order in orders for kind in (ORDERS, INCOMING)]
        present = [name for name in names if self.refs.get(name) is not None]
        if present:
            self.refs.update(*(RefUpdate(name, None) for name in present))


@cache
def _refs_of(folder: Path) -> RefStore:
    """Return the refs of an exchange. It keeps the packs open, of which there is one a result."""
    return RefStore(folder)


@contextmanager
def open_exchange(store: Store) -> Iterator[Exchange]:
    """Yield a new exchange, and delete it at the end unless the process is killed."""
    folder = store.cache / FOLDER / uuid.uuid4().hex[:16]
    lock = folder.with_suffix(".lock")
    with locked(lock):
        make_scratch(folder, store.path)
        with (folder / "config").open("a") as config:
            config.write(_SETTINGS)
        try:
            yield Exchange(folder)
        finally:
            remove_tree(folder)
            lock.unlink(missing_ok=True)


@contextmanager
def abandoned_exchanges(store: Store) -> Iterator[list[Exchange]]:
    """Yield the exchanges of killed builds; afterwards, delete those that wait for no result."""
    with contextlib.ExitStack() as stack:
        exchanges = [
            Exchange(lock.with_suffix(""))
            for lock in sorted((store.cache / FOLDER).glob("*.lock"))
            if stack.enter_context(try_locked(lock))
        ]
        yield exchanges
        for exchange in exchanges:
            lock = exchange.folder.with_suffix(".lock")
            is_old = lock.stat().st_mtime < time.time() - LEFT_AFTER
            if is_old or not exchange.waits():
                if exchange.folder.exists():
                    remove_tree(exchange.folder)
                lock.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class KeptOrders:
    """The orders and results that a worker keeps, by the large trees that they contain."""

    store: Store

    @property
    def _file(self) -> Path:
        return self.store.cache / "kept"

    def _read(self) -> dict[Oid, CommitId]:
        value = read_cache(self._file)
        return value if isinstance(value, dict) else {}

    def keep(self, commit: CommitId, roots: Iterable[Oid]) -> None:
        """Keep an order or a result that contains some large trees."""
        self.store.refs.update(RefUpdate(f"{KEPT}{commit.hex()}", commit))
        with locked(self.store.cache / "locks" / "kept"):
            write_cache(self._file, {**self._read(), **dict.fromkeys(roots, commit)})

    def known(self) -> Set[Oid]:
        """Return the large trees of kept orders; they were validated on arrival."""
        return self._read().keys()

    def holding(self, roots: Iterable[Oid]) -> list[CommitId]:
        """Return kept commits that contain as many of some trees as possible."""
        rows, exists = self._read(), self.store.objects.exists
        commits = dict.fromkeys(rows[root] for root in roots if root in rows)
        return [commit for commit in commits if exists(commit)]


def remove_leftovers(store: Store) -> None:
    """Delete the temporary repositories of killed orders. No order may be running."""
    for folder in store.cache.glob(f"{_SCRATCH}*"):
        remove_tree(folder)


@dataclass(frozen=True, slots=True)
class WorkerExchange:
    """An exchange as a worker sees it: a git repository on another machine."""

    store: Store
    """The worker's store."""
    assignment: Assignment
    variables: Mapping[str, str]
    """The worker's environment, with git's variables for TLS."""

    @property
    def order(self) -> CommitId:
        return CommitId(bytes.fromhex(self.assignment.order))

    def _transport(self) -> Transport:
        return Transport("coordinator", self.assignment.url, Access(self.variables))

    @contextmanager
    def fetch(self) -> Iterator[tuple[Source, int]]:
        """Fetch the order; yield a reader of its objects, and the number of transferred bytes.

        Raises Unreachable.
        """
        roots = [bytes.fromhex(text) for text in self.assignment.roots]
        have = KeptOrders(self.store).holding(roots)
        with self._scratch() as scratch:
            self._transport().fetch_objects(scratch, [self.order], have, by_variable=False)
            packs = (scratch / "objects/pack").glob("*.pack")
            yield object_source(scratch), sum(path.stat().st_size for path in packs)

    def push(self, result: CommitId) -> None:
        """Push a result. Raises Unreachable."""
        with self._scratch() as scratch:
            # otherwise git would not compare the trees of unrelated commits
            write_scratch(scratch / "shallow", f"{self.order.hex()}\n")
            update: dict[str, Oid | None] = {f"{INCOMING}{self.order.hex()}": result}
            with (scratch / "config").open("a") as config:
                config.write(_SETTINGS)
            self._transport().push(scratch, update, {})

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Yield a temporary repository that also reads the objects of the worker's store."""
        prefix = f"{_SCRATCH}{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.store.cache) as path:
            yield make_scratch(Path(path), self.store.path)
