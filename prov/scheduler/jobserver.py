"""A GNU make jobserver, shared by all tasks of a build to limit the number of parallel jobs.

A pipe holds one token for each job. A task reads a token when it starts and returns it when it
ends; make processes inside the task read more tokens and write them back. Since a killed make may
lose tokens, the pipe is refilled when no task is running. (Protocol: "POSIX Jobserver" in make's
manual.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field

TOKEN = b"+"


@dataclass(slots=True)
class Jobserver:
    """Tokens for `jobs` jobs. Use it inside an event loop."""

    jobs: int
    _read: int = -1
    _write: int = -1
    _take: int = -1
    _running: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._read, self._write = os.pipe()
        # a separate file description, because make's copy must stay blocking
        self._take = os.open(
            f"/proc/self/fd/{self._read}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )
        os.write(self._write, TOKEN * self.jobs)

    def close(self) -> None:
        for fd in (self._read, self._write, self._take):
            os.close(fd)

    @property
    def pass_fds(self) -> tuple[int, int]:
        return self._read, self._write

    @property
    def makeflags(self) -> str:
        """The value of MAKEFLAGS for tasks."""
        return f"-j{self.jobs} --jobserver-auth={self._read},{self._write}"

    async def acquire(self) -> None:
        """Wait for a token."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(BlockingIOError):
                if os.read(self._take, 1):
                    self._running += 1
                    return
            ready = loop.create_future()
            self._waiting.append(ready)
            loop.add_reader(self._take, self._wake)
            await ready

    def _wake(self) -> None:
        asyncio.get_running_loop().remove_reader(self._take)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def release(self) -> None:
        """Return a token."""
        self._running -= 1
        if self._running:
            os.write(self._write, TOKEN)
            return
        with contextlib.suppress(BlockingIOError):
            while os.read(self._take, 4096):
                pass
        os.write(self._write, TOKEN * self.jobs)
