"""Fetching while a build runs: what is asked for while one transfer is under way goes into the
next.

So a build makes few requests, however many results it takes, and no task waits for another's fetch
longer than for its own.
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
"""Task, task hash, and whether its WORKDIR is wanted."""


@dataclass(slots=True)
class Fetcher:
    """Brings results from remotes, in worker processes."""

    known: Anywhere
    workers: Workers
    note: Callable[[str], None]
    size: int = 0
    """Bytes that the store grew by."""
    _answers: dict[Asked, asyncio.Future[bool]] = field(default_factory=dict)
    _waiting: dict[Asked, StaticKey] = field(default_factory=dict)
    _working: asyncio.Task[None] | None = None

    async def fetch(
        self, key: TaskKey, task_hash: TaskHash, static_key: StaticKey, *, workdir: bool = False
    ) -> bool:
        """Bring a task's result; tell whether it is here."""
        asked = (key, task_hash, workdir)
        if asked not in self._answers:
            self._answers[asked] = asyncio.get_running_loop().create_future()
            self._waiting[asked] = static_key
            if self._working is None or self._working.done():
                self._working = asyncio.ensure_future(self._work())
        return await self._answers[asked]

    async def _work(self) -> None:
        """Fetch until no request is left; a bug here must not leave a build waiting."""
        try:
            await asyncio.sleep(0)  # let everything ask that is about to
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
        """Return the requests to each remote, with and without WORKDIRs; answer those that no
        remote has.
        """
        by_remote: dict[tuple[str, bool], dict[Asked, Wanted]] = {}
        for asked, static_key in batch.items():
            key, task_hash, workdir = asked
            published = self.known.published(key, task_hash)
            if published is None:
                self._answer(asked, here=False)
                continue
            name, task = published
            # the plan goes by this static key, whatever key other builds published it under
            by_remote.setdefault((name, workdir), {})[asked] = Wanted(name, task, static_key)
        return by_remote

    async def _transfer(self, name: str, asked: dict[Asked, Wanted], *, workdirs: bool) -> None:
        caches = self.known.caches
        remote = next(each for each in caches.remotes if each.name == name)
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
        got = {task.record for task in fetched.tasks}
        for each, wanted in asked.items():
            if wanted.task.record not in got:
                caches.refuse(name, wanted.task)
            self._answer(each, here=wanted.task.record in got)

    def _answer(self, asked: Asked, *, here: bool) -> None:
        answer = self._answers[asked]
        if not here:
            del self._answers[asked]  # another remote may be asked
        if not answer.done():
            answer.set_result(here)
