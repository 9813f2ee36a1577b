"""Worker processes, forked from the writer: each serves one job at a time, and many in turn.

A process per job would fork, open the store and map its packs again for each of the thousands of
requests in a build. A worker keeps them. It inherits everything that the writer knew when it was
forked; call `RecordingWorkers.renew` after that has changed.

Jobs and results are pickled messages on a socket, each after its size. The descriptor of the task's
connection travels with the job.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import selectors
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from prov.errors import ProvError
from prov.processes import Child, decode_answer, start_child

LARGEST = 256 << 10
"""Peak memory in KiB from which a worker exits after its job: it would not return the memory."""
MOST_IDLE = 2 * (os.cpu_count() or 1)
"""Number of workers without a job that stay ready for the next."""
_SIZE = struct.Struct("<Q")


@dataclass(slots=True)
class RecordingWorker:
    """A worker as the writer sees it."""

    child: Child
    connection: socket.socket
    label: str = ""
    """Activity of its current job, for errors; empty without a job."""
    is_old: bool = False
    """Whether it must not get another job."""
    received: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        return self.connection.fileno()

    def result(self) -> bytes | None:
        """Return the received result, pickled, or None if it is incomplete."""
        if len(self.received) < _SIZE.size:
            return None
        end = _SIZE.size + _SIZE.unpack_from(self.received)[0]
        return bytes(self.received[_SIZE.size : end]) if len(self.received) >= end else None


@dataclass(slots=True)
class RecordingWorkers:
    """The workers of a build. `serve` is called in a worker with a job and a task's connection."""

    serve: Callable[[Any, socket.socket], object]
    tidy: Callable[[], None]
    """Called in a worker after each job, when the writer has its result."""
    selector: selectors.BaseSelector
    """Reports a worker when it has something to `hear`."""
    inherited: Callable[[], Iterable[socket.socket]] = tuple
    """Return the open sockets of the writer. A worker closes them: a task that is waiting must
    notice when the writer closes its connection.
    """
    idle: list[RecordingWorker] = field(default_factory=list)
    """Those without a job, the last used one at the end."""
    busy: dict[int, RecordingWorker] = field(default_factory=dict)
    """By file descriptor."""

    def start(self, job: object, connection: socket.socket, label: str) -> RecordingWorker:
        """Give a job to a worker, and return the worker; start one if all have jobs."""
        message = pickle.dumps(job, protocol=5)
        while self.idle:
            worker = self.idle.pop()
            try:
                _send_job(worker.connection, message, connection)
                break
            except OSError:  # it was killed while it was idle
                self._end(worker)
        else:
            worker = self._fork(connection)
            _send_job(worker.connection, message, connection)
        worker.label = label
        self.busy[worker.fileno()] = worker
        return worker

    def hear(self, worker: RecordingWorker) -> Callable[[], object] | None:
        """Read from a worker. After its job, return a function that returns or raises the result.

        Returns None if the result is incomplete, or if a worker without a job has exited.
        """
        if worker.fileno() < 0:  # it was ended after the selector had reported it
            return None
        piece = b""
        with contextlib.suppress(OSError):  # it was killed with an unread job
            piece = worker.connection.recv(1 << 20)
        worker.received += piece
        label = worker.label
        data = worker.result()
        if piece and data is None:
            return None
        had_job = self.busy.pop(worker.fileno(), None) is not None
        if not had_job:
            self.idle.remove(worker)
        worker.received.clear()
        worker.label = ""
        if not piece:
            status = self._end(worker)
            return (lambda: decode_answer(b"", status, label)) if had_job else None
        assert data is not None
        stays, answer = pickle.loads(data)  # trusted: from prov's own fork
        if stays and not worker.is_old and len(self.idle) < MOST_IDLE:
            self.idle.append(worker)
        else:
            self._end(worker)
        return lambda: decode_answer(answer, 0, label)

    def renew(self) -> None:
        """Replace the workers, so that the next jobs see the writer's current state."""
        for worker in self.busy.values():
            worker.is_old = True
        self.close()

    def close(self) -> None:
        """End the workers without a job, and wait for them."""
        while self.idle:
            self._end(self.idle.pop())

    def _fork(self, connection: socket.socket) -> RecordingWorker:
        ours, theirs = socket.socketpair()
        # a worker exits when the writer has closed its connection, so no other may hold it open
        others = [worker.connection for worker in (*self.idle, *self.busy.values())]

        def run() -> None:
            for inherited in (ours, connection, *others, *self.inherited()):
                inherited.close()
            self.selector.close()
            self._serve_jobs(theirs)

        child = start_child(run)
        theirs.close()
        worker = RecordingWorker(child, ours)
        self.selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def _serve_jobs(self, writer: socket.socket) -> None:
        """Serve jobs in a worker until the writer closes the connection."""
        stays = True
        while stays:
            head, descriptors, _, _ = socket.recv_fds(
                writer, _SIZE.size, 1, socket.MSG_CMSG_CLOEXEC
            )
            if not descriptors:
                return
            with socket.socket(fileno=descriptors[0]) as connection:
                job = pickle.loads(_received(writer, _SIZE.unpack(head)[0]))
                answer = _answer(self.serve, job, connection)
            stays = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < LARGEST
            message = pickle.dumps((stays, answer), protocol=5)
            writer.sendall(_SIZE.pack(len(message)) + message)
            self.tidy()

    def _end(self, worker: RecordingWorker) -> int:
        """Close the connection to a worker, and return its exit status from waitpid."""
        self.selector.unregister(worker.connection)
        worker.connection.close()
        status = os.waitpid(worker.child.pid, 0)[1]
        os.close(worker.child.answer)
        return status


def _send_job(worker: socket.socket, message: bytes, connection: socket.socket) -> None:
    socket.send_fds(worker, [_SIZE.pack(len(message))], [connection.fileno()])
    worker.sendall(message)


def _answer(
    serve: Callable[[Any, socket.socket], object], job: object, connection: socket.socket
) -> bytes:
    """Return the result of a job, or its exception, pickled."""
    answer: object
    try:
        answer = serve(job, connection)
    except Exception as error:
        answer = error
    return pickle.dumps(answer, protocol=5)


def _received(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ProvError("the writer has exited")
        data += piece
    return bytes(data)
