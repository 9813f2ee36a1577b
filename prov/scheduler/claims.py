"""Claim tasks before they run, so that builds on several machines do not run the same ones.

A build claims few tasks more than it can run, so that other builds find free ones. While a
different build runs a task, this one runs others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prov.claims.keeper import KeeperPipes
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey

PATIENCE = 30.0
"""Seconds without an answer after which a build stops claiming tasks."""


@dataclass(slots=True)
class _ReadyTask:
    """A task that is ready to run."""

    key: TaskKey
    found: asyncio.Future[bool]
    """Whether a result is published; otherwise, the task can run."""
    is_answered: bool = False
    counts: bool = False
    """Whether it counts as a task that this build runs."""


@dataclass(slots=True)
class TaskClaims:
    """The claims of a running build. Use it in one event loop."""

    pipes: KeeperPipes
    note: Callable[[str], None]
    most: int
    """Number of tasks to claim at the same time."""
    _requests: dict[TaskHash, _ReadyTask] = field(default_factory=dict)
    _queue: dict[TaskKey, asyncio.Future[bool]] = field(default_factory=dict)
    """Tasks that are ready while this build has claimed enough."""
    _active: int = 0
    _text: bytes = b""
    _ended: bool = False

    def start(self) -> None:
        """Read answers in the running event loop."""
        os.set_blocking(self.pipes.answers, False)
        asyncio.get_running_loop().add_reader(self.pipes.answers, self._read)

    def stop(self) -> None:
        """Claim no more tasks, and wait for no other build."""
        if not self._ended:
            self._ended = True
            asyncio.get_running_loop().remove_reader(self.pipes.answers)
        for request in self._requests.values():
            _settle(request.found)
        for key in [*self._queue]:
            self._admit(key)

    @asynccontextmanager
    async def claimed(self, key: TaskKey, task_hash: TaskHash) -> AsyncIterator[bool]:
        """Yield whether a result of a task is published; otherwise, run the task in this context.

        Waits while a different build runs it.
        """
        if task_hash in self._requests:  # a different task with the same inputs
            yield False
            return
        request = _ReadyTask(key, asyncio.get_running_loop().create_future())
        self._requests[task_hash] = request
        word = "drop"
        try:
            await self._enter(request)
            self._send("want", task_hash)
            asyncio.get_running_loop().call_later(PATIENCE, self._give_up, request)
            yield not self._ended and await request.found
            word = "done"
        finally:
            del self._requests[task_hash]
            self._leave(request)
            self._send(word, task_hash)

    async def _enter(self, request: _ReadyTask) -> None:
        """Wait until the task may be claimed."""
        if self._active >= self.most and not self._ended:
            waiting = self._queue[request.key] = asyncio.get_running_loop().create_future()
            await waiting
        else:
            self._active += 1
        request.counts = True

    def _admit(self, key: TaskKey) -> None:
        """Let a waiting task be claimed."""
        self._active += 1
        _settle(self._queue.pop(key))

    def _leave(self, request: _ReadyTask) -> None:
        """Let the next task be claimed instead of this one."""
        if not request.counts:
            return
        request.counts = False
        self._active -= 1
        if self._queue and self._active < self.most:
            self._admit(next(iter(self._queue)))

    def _give_up(self, request: _ReadyTask) -> None:
        """Claim no more tasks if a request has no answer."""
        if not request.is_answered and not self._ended:
            self.note(f"remote {self.pipes.remote}: no answer; tasks are not claimed there")
            self.stop()

    def _send(self, word: str, task_hash: TaskHash) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipes.requests, f"{word} {task_hash.hex()}\n".encode())

    def _read(self) -> None:
        chunk = os.read(self.pipes.answers, 1 << 16)
        *lines, self._text = (self._text + chunk).split(b"\n")
        for line in lines:
            self._take(line.decode())
        if not chunk:  # the keeper was killed
            self.stop()

    def _take(self, line: str) -> None:
        """Take a line of the keeper."""
        word, _, text = line.partition(" ")
        if word == "note":
            self.note(text)
            return
        digits, _, holder = text.partition(" ")
        request = self._requests.get(TaskHash(bytes.fromhex(digits)))
        if request is None:  # the build is stopping
            return
        request.is_answered = True
        if word == "wait":
            self.note(f"{request.key}: waiting for the build on {holder} that runs it")
            self._leave(request)
        else:
            _settle(request.found, found=word == "found")


def _settle(future: asyncio.Future[bool], *, found: bool = False) -> None:
    """Set a future's result, unless it has one."""
    if not future.done():
        future.set_result(found)


def claims_of(
    keeper: KeeperPipes | None, jobs: int, note: Callable[[str], None]
) -> TaskClaims | None:
    """Return the claims of a build that runs `jobs` tasks at the same time, or None."""
    # one more, so that no processor waits for an answer
    return TaskClaims(keeper, note, most=jobs + 1) if keeper is not None else None
