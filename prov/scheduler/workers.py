"""Start, await and stop worker processes in an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from prov.processes import Child, decode_answer, start_child


@dataclass(slots=True)
class Workers:
    """The worker processes of one build."""

    _children: set[Child] = field(default_factory=set)

    def kill(self, number: int) -> None:
        """Send a signal to all workers and their descendants."""
        for child in self._children:
            child.kill(number)

    async def run(self, function: Callable[[], object], what: str) -> object:
        """Run a function in a worker process; return its result or raise its exception.

        Raises ProvError, naming `what`, if the process ends without an answer.
        """
        child = start_child(function, leads=True)
        self._children.add(child)
        data = await _read_all(child.answer)
        os.close(child.answer)
        status = os.waitpid(child.pid, 0)[1]
        self._children.remove(child)
        child.kill(signal.SIGKILL)  # background processes that the task left running
        return decode_answer(data, status, what)


async def _read_all(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bytes] = loop.create_future()
    chunks: list[bytes] = []

    def read() -> None:
        chunk = os.read(fd, 1 << 16)
        if chunk:
            chunks.append(chunk)
            return
        loop.remove_reader(fd)
        ended.set_result(b"".join(chunks))

    loop.add_reader(fd, read)
    return await ended
