"""Claim results for a build whose scheduler cannot wait for single tasks, as BitBake's.

BitBake decides at the start of a build which objects it restores, and never again. So a build can
wait only there for what a different build is making. It claims the objects of a recipe when it
runs the recipe's first task, and publishes each object when its task has ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from prov.claims.keeper import Keeper, KeeperPipes, find_results, start_keeper
from prov.claims.remote_claims import Claims
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.opening import open_git_remote
from prov.remote.settings import Remote
from prov.sharing.pushing import Publisher
from prov.sharing.results import Shareable
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import few
from prov.transport.access import Access


def wait_for_others(
    store: Store,
    remote: Remote,
    access: Access,
    missing: Mapping[Oid, str],
    seconds: float,
    note: Callable[[str], None],
) -> bool:
    """Wait while other builds make missing results, at most some seconds.

    `missing` has a name for each result. Returns whether the remote has one of them now. Raises
    Unreachable.
    """
    answers: list[str] = []
    opened = open_git_remote(remote, store, access)
    end = time.monotonic() + seconds
    with opened.scratch(without_store=True) as scratch:
        claims = Claims(opened, scratch, socket.gethostname())
        watch = Keeper(claims, partial(find_results, opened), answers.append)
        watch.may_claim = False
        for result in missing:
            watch.from_build(f"want {result.hex()}")
        watch.work()
        if watch.wanted and seconds:
            names = few(missing[result] for result in watch.wanted)
            note(f"waiting for builds elsewhere that run {names}")
        while watch.wanted and time.monotonic() < end:
            time.sleep(min(watch.pause() or 0, max(0, end - time.monotonic())))
            watch.work()
    return any(line.startswith("found ") for line in answers)


@dataclass(slots=True)
class ResultClaims:
    """The claims of a running build."""

    store: Store
    remote: Remote
    access: Access
    prepare: Callable[[], None] = lambda: None
    """Called first in the processes that keep claims and publish."""
    _missing: dict[str, set[Oid]] = field(default_factory=dict)
    """Recipe -> results that the build makes, if it runs their tasks."""
    _keeper: KeeperPipes | None = None
    _publisher: Publisher | None = None

    def expect(self, recipe: str, result: Oid) -> None:
        """Note a missing result, before the build makes it."""
        self._missing.setdefault(recipe, set()).add(result)

    def begin(self, recipe: str) -> None:
        """Claim a recipe's results when its first task begins."""
        results = self._missing.pop(recipe, set())
        if not results or not self.remote.push:
            return
        if self._keeper is None:
            store, remote, access = self.store, self.remote, self.access
            self._keeper = start_keeper(store, remote, access, self.prepare)
            self._publisher = Publisher.start(store, remote, access, self._keeper, self.prepare)
            self._keeper.close_published()
            os.set_blocking(self._keeper.answers, False)
        for result in results:
            self._send("want", result)

    def made(self, key: TaskKey, task_hash: TaskHash, static_key: StaticKey) -> None:
        """Publish a result that the build has recorded."""
        if self._publisher is None:
            return
        self._publisher.offer(key, task_hash, static_key)
        self._publisher.whole.append(Shareable(key, task_hash, static_key))
        self._send("done", static_key)

    def _send(self, word: str, result: Oid) -> None:
        assert self._keeper is not None
        with contextlib.suppress(BrokenPipeError):
            os.write(self._keeper.requests, f"{word} {result.hex()}\n".encode())
        # the build runs the task whatever the answer is
        with contextlib.suppress(BlockingIOError):
            os.read(self._keeper.answers, 1 << 16)

    def close(self) -> None:
        """Release the claims of results that were not made."""
        if self._keeper is not None and self._publisher is not None:
            self._publisher.close()
            self._keeper.close()
