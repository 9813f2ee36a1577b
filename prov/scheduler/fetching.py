"""Fetch results from remotes during a build.

Requests made while a transfer is running are combined into the next transfer. A build therefore
needs few transfers, however many results it uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.scheduler.workers import Workers
from prov.sharing.caches import FAILURES, Anywhere, Fetched, Wanted, fetch, why_it_failed

Asked = tuple[TaskKey, TaskHash, bool]
"""A request: task, task hash, and whether to fetch its WORKDIR."""


@dataclass(slots=True)
class Fetcher:
    """Fetches results from remotes in worker processes."""

    known: Anywhere
    workers: Workers
    note: Callable[[str], None]
    size: int = 0
    """Bytes added to the store."""
    _answers: dict[Asked, asyncio.Future[bool]] = field(default_factory=dict)
    _waiting: dict[Asked, StaticKey] = field(default_factory=dict)
    _working: asyncio.Task[None] | None = None

    async def fetch(
        self, key: TaskKey, task_hash: TaskHash, static_key: StaticKey, *, workdir: bool = False
    ) -> bool:
        """Fetch a task's result; return whether it is now in the store."""
        asked = (key, task_hash, workdir)
        if asked not in self._answers:
            self._answers[asked] = asyncio.get_running_loop().create_future()
            self._waiting[asked] = static_key
            if self._working is None or self._working.done():
                self._working = asyncio.ensure_future(self._work())
        return await self._answers[asked]

    async def _work(self) -> None:
        """Transfer until no requests are left.

        An unexpected error is set on every open request, so that the build does not wait forever.
        """
        try:
            await asyncio.sleep(0)  # let tasks that are ready add their requests first
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                for (name, workdirs), requests in self._by_remote(batch).items():
                    await self._transfer(name, requests, workdirs=workdirs)
        except BaseException as error:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(error)

    def _by_remote(
        self, batch: dict[Asked, StaticKey]
    ) -> dict[tuple[str, bool], dict[Asked, Wanted]]:
        """Group requests by remote and by whether they include WORKDIRs.

        Answer requests for results that no remote has.
        """
        by_remote: dict[tuple[str, bool], dict[Asked, Wanted]] = {}
        for asked, static_key in batch.items():
            key, task_hash, workdir = asked
            published = self.known.published(key, task_hash)
            if published is None:
                self._answer(asked, here=False)
                continue
            name, task = published
            # use this plan's static key, not the key under which another build published the task
            by_remote.setdefault((name, workdir), {})[asked] = Wanted(name, task, static_key)
        return by_remote

    async def _transfer(self, name: str, asked: dict[Asked, Wanted], *, workdirs: bool) -> None:
        caches = self.known.caches
        remote = next(remote for remote in caches.remotes if remote.name == name)
        try:
            answer = await self.workers.run(
                lambda: fetch(
                    caches.store,
                    remote,
                    caches.access,
                    list(asked.values()),
                    workdirs=workdirs,
                    confined=caches.confined,
                ),
                f"remote {name}",
            )
            fetched = cast(Fetched, answer)
        except FAILURES as error:
            fetched = Fetched(failed=why_it_failed(name, error))
        caches.store.objects.refresh()
        self.size += fetched.size
        if fetched.failed:
            caches.drop(name, fetched.failed)
        for note in (*fetched.notes, *caches.notes):
            self.note(note)
        caches.notes.clear()
        records = {task.record for task in fetched.tasks}
        for request, wanted in asked.items():
            if wanted.task.record not in records:
                caches.refuse(name, wanted.task)
            self._answer(request, here=wanted.task.record in records)

    def _answer(self, asked: Asked, *, here: bool) -> None:
        answer = self._answers[asked]
        if not here:
            del self._answers[asked]  # so that the next request tries another remote
        if not answer.done():
            answer.set_result(here)
