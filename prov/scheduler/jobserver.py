"""GNU make's jobserver, shared by all tasks of a build: no more jobs at once than were asked for.

A pipe holds one token for each job. A task takes one to start and gives it back at its end; the
makes that it runs take more as they find them, and put them back. A killed make may keep some: when
no task is running, the pipe is filled anew. (Protocol: "POSIX Jobserver" in make's manual.)
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
        # a description of its own: the makes must not find theirs non-blocking
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
        """What a task's MAKEFLAGS are."""
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
        """Give a token back."""
        self._running -= 1
        if self._running:
            os.write(self._write, TOKEN)
            return
        with contextlib.suppress(BlockingIOError):
            while os.read(self._take, 4096):
                pass
        os.write(self._write, TOKEN * self.jobs)
