"""Run the orders of a worker, each in a new process, with one jobserver for the machine.

The runner is a process of its own. A worker starts it before Dask creates threads, because only a
process with one thread can be forked safely. It ends, with all orders, when the worker ends.

Messages over its socket are JSON lines: `{"run": ID, "message": TEXT}` and `{"stop": ID}` to it,
`{"ended": ID, "receipt": TEXT}` or `{"ended": ID, "problem": TEXT}` from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

from prov.errors import ProvError
from prov.farm.exchange import remove_leftovers
from prov.farm.perform import Site, perform
from prov.processes import start_fork
from prov.scheduler.jobserver import Jobserver
from prov.scheduler.workers import Workers

LONGEST = 2 << 20
"""Maximum bytes of a line."""
SECONDS_TO_STOP = 3.0
_ENDED = "the process that runs orders ended"


@dataclass(slots=True)
class _Runner:
    """The runner's side of the socket."""

    site: Site
    writer: asyncio.StreamWriter
    jobserver: Jobserver
    _orders: dict[str, Workers] = field(default_factory=dict)
    _stopped: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, line: bytes) -> None:
        """Start or stop an order."""
        request = json.loads(line)
        if "stop" in request:
            self._stop(request["stop"])
            return
        name = request["run"]
        self._orders[name] = Workers()
        task = asyncio.create_task(self._run(name, request["message"].encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop(self, name: str) -> None:
        workers = self._orders.get(name)
        if workers is not None:
            self._stopped.add(name)
            workers.kill(signal.SIGTERM)
            loop = asyncio.get_running_loop()
            loop.call_later(SECONDS_TO_STOP, workers.kill, signal.SIGKILL)

    async def _run(self, name: str, message: bytes) -> None:
        answer = {"ended": name}
        await self.jobserver.acquire()
        try:
            if name in self._stopped:
                raise ProvError("the order was stopped")
            makeflags, fds = self.jobserver.makeflags, self.jobserver.pass_fds
            function = partial(perform, self.site, message, makeflags, fds)
            receipt = await self._orders[name].run(function, "an order")
            assert isinstance(receipt, bytes)
            answer["receipt"] = receipt.decode()
        except (ProvError, OSError) as error:
            answer["problem"] = str(error)
        finally:
            self.jobserver.release()
            del self._orders[name]
            self._stopped.discard(name)
            if not self._orders:
                self.site = self.site.cleaned()
        self.writer.write(f"{json.dumps(answer)}\n".encode())

    def kill(self) -> None:
        """Kill all orders."""
        for workers in self._orders.values():
            workers.kill(signal.SIGKILL)


async def _serve(site: Site, connection: socket.socket) -> None:
    """Run orders until the other end of the socket closes."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=LONGEST)
    remove_leftovers(site.store)
    runner = _Runner(site, writer, Jobserver(site.jobs))
    while line := await reader.readline():
        runner.take(line)
    runner.kill()


@dataclass(slots=True)
class OrderRunner:
    """The worker's side of the socket. Use it in one event loop."""

    connection: socket.socket
    pid: int
    _waiting: dict[str, asyncio.Future[dict[str, str]]] = field(default_factory=dict)
    _writer: asyncio.StreamWriter | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the runner's process has ended."""
    _reading: asyncio.Task[None] | None = None

    @staticmethod
    def start(site: Site) -> OrderRunner:
        """Start the runner's process. Call this before any thread exists."""
        ours, theirs = socket.socketpair()

        def serve() -> None:
            ours.close()
            import_module("prov.store.libgit2")  # once, instead of in the process of each order
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the worker stops orders
            asyncio.run(_serve(site, theirs))

        pid = start_fork(serve)
        theirs.close()
        return OrderRunner(ours, pid)

    async def open(self) -> None:
        """Read answers in the running event loop."""
        reader, self._writer = await asyncio.open_connection(sock=self.connection, limit=LONGEST)
        self._reading = asyncio.create_task(self._read(reader))

    async def run(self, name: str, message: bytes) -> bytes:
        """Run an order and return its receipt. Raises ProvError."""
        if self.ended.is_set():
            raise ProvError(_ENDED)
        waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
        self._send({"run": name, "message": message.decode()})
        try:
            answer = await waiting
        except asyncio.CancelledError:
            self.stop(name)
            raise
        finally:
            self._waiting.pop(name, None)
        if "receipt" not in answer:
            raise ProvError(answer.get("problem", _ENDED))
        receipt: str = answer["receipt"]
        return receipt.encode()

    def stop(self, name: str) -> None:
        """Stop an order: terminate its processes, and kill them after some seconds."""
        self._send({"stop": name})

    def _send(self, message: dict[str, str]) -> None:
        assert self._writer is not None
        self._writer.write(f"{json.dumps(message)}\n".encode())

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                answer = json.loads(line)
                waiting = self._waiting.get(answer["ended"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        self.ended.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"problem": _ENDED})

    def close(self) -> None:
        """End the runner and its orders."""
        with contextlib.suppress(OSError):  # the runner may have ended
            self.connection.shutdown(socket.SHUT_RDWR)
        os.waitpid(self.pid, 0)
