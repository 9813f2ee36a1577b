"""Worker processes that run one task after the other.

A fork of this process costs several milliseconds, most of them for pages that both processes then
copy. So a worker is kept, with what it has read, until the build ends.

A worker and the commands of its task form a process group, which receives the build's signals. When
a task has ended, the worker leaves the group, kills what the task left running, and forms the group
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from prov.processes import decode_answer, encode_answer, start_fork

_LENGTH = 8
"""The size in bytes of the length before each message."""
_STOP = b""
"""The request after which a worker ends."""
Answer = Callable[[bytes], object]
"""Runs in a worker: returns the result for a request."""


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process, and its two pipes."""

    pid: int
    requests: int
    answers: int

    @staticmethod
    def start(answer: Answer) -> Worker:
        """Start a process that calls `answer` for each request."""
        request_reader, request_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        others = os.getpgrp()

        def serve() -> None:
            # an end of this pipe here would hide the end of the scheduler
            os.close(request_writer)
            os.close(answer_reader)
            _serve(answer, request_reader, answer_writer, others)

        try:
            pid = start_fork(serve, leads=True)
        except BaseException:
            os.close(request_writer)
            os.close(answer_reader)
            raise
        finally:
            os.close(request_reader)
            os.close(answer_writer)
        return Worker(pid, request_writer, answer_reader)

    def kill(self, number: int) -> None:
        """Send a signal to the worker, and to the commands of its task."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        # it may just have left its group
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Let an idle or dead worker end."""
        # not only the end of the pipe, which later processes have inherited
        with contextlib.suppress(BrokenPipeError):
            _write_message(self.requests, _STOP)

    def end(self) -> int:
        """Let an idle or dead worker end, kill the rest of its group; return its wait status."""
        self.stop()
        os.close(self.requests)
        os.close(self.answers)
        status = os.waitpid(self.pid, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return status


@dataclass(slots=True)
class TaskWorkers:
    """The workers of a build."""

    answer: Answer
    _busy: set[Worker] = field(default_factory=set)
    _idle: list[Worker] = field(default_factory=list)

    def kill(self, number: int) -> None:
        """Send a signal to all workers and the commands of their tasks."""
        for worker in (*self._busy, *self._idle):
            worker.kill(number)

    async def run(self, request: bytes, what: str) -> object:
        """Return the answer to a request, or raise its exception.

        Raises ProvError, naming `what`, if the worker ends without an answer.
        """
        worker = self._free_worker(request)
        self._busy.add(worker)
        data = await _read_message(worker.answers)
        self._busy.remove(worker)
        if data:
            self._idle.append(worker)
            return decode_answer(data, 0, what)
        return decode_answer(data, worker.end(), what)

    def _free_worker(self, request: bytes) -> Worker:
        """Return a worker that has received a request."""
        while self._idle:
            worker = self._idle.pop()
            try:
                _write_message(worker.requests, request)
            except BrokenPipeError:  # killed, for example for its memory
                worker.end()
                continue
            return worker
        worker = Worker.start(self.answer)
        _write_message(worker.requests, request)
        return worker

    def close(self) -> None:
        """End the idle workers."""
        # all at once: the kernel takes up to 20 ms to close the inotify instance of a worker
        for worker in self._idle:
            worker.stop()
        while self._idle:
            self._idle.pop().end()


def _serve(answer: Answer, requests: int, answers: int, others: int) -> None:
    """Answer requests until they end. `others` is the process group in which to wait."""
    gc.freeze()  # else collecting would touch, and so copy, all pages of the scheduler
    while request := _read_request(requests):
        data = encode_answer(partial(answer, request))
        _kill_group(others)
        _write_message(answers, data)


def _kill_group(others: int) -> None:
    """Kill the processes that a task left running in this process's group."""
    own = os.getpid()
    os.setpgid(0, others)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(own, signal.SIGKILL)
    os.setpgid(0, 0)


def _write_message(fd: int, data: bytes) -> None:
    left = memoryview(len(data).to_bytes(_LENGTH) + data)
    while left:
        left = left[os.write(fd, left) :]


def _read_request(fd: int) -> bytes:
    """Return the next request, or an empty one if there are no more."""
    size = int.from_bytes(_read_exactly(fd, _LENGTH))
    return _read_exactly(fd, size)


def _read_exactly(fd: int, size: int) -> bytes:
    """Read `size` bytes, or none if the other process ends before."""
    data = b""
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


async def _read_message(fd: int) -> bytes:
    """Return the next message, or an empty one if the process at the other end has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bytes] = loop.create_future()
    data = bytearray()

    def read() -> None:
        chunk = os.read(fd, 1 << 16)
        data.extend(chunk)
        size = int.from_bytes(data[:_LENGTH])
        if chunk and len(data) < _LENGTH + size:
            return
        loop.remove_reader(fd)
        ended.set_result(bytes(data[_LENGTH:]) if chunk else b"")

    loop.add_reader(fd, read)
    return await ended
