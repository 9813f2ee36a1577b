"""The writer: the process that records a BitBake build. BitBake's server starts one per build.

A task connects to a socket when it begins and when it has ended. It waits for the answer, so that
its WORKDIR does not change during the capture. Worker processes serve the requests; the writer
itself only tracks which tasks run. The server sends messages through one pipe, which closes when
the server exits, and reads messages from another. Each message is a line of JSON.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prov.bitbake.build_record import TaskRun
from prov.bitbake.capture import NOT_WATCHED, BuildTask, Captured, Packed
from prov.bitbake.connection import BREATH, read_header, send_answer
from prov.bitbake.equivalence import Equivalences, fetch_lines, read_lines
from prov.bitbake.messages import (
    BuildDone,
    EquivalencesQuestion,
    InvalidMessage,
    TaskAnswer,
    TaskRequest,
    WhichQuestion,
    WriterWord,
    read_names,
    read_object,
    read_request,
    read_server_word,
)
from prov.bitbake.service import Service, TaskJob
from prov.bitbake.shared_state import ObjectName, SharedObjects, Unpacked
from prov.bitbake.workers import RecordingWorker, RecordingWorkers
from prov.claims.keeper import claimed_remote
from prov.errors import ProvError, SysrootError
from prov.reads.workdirs import TaskOpens, WatchedWorkdirs
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.ids import StaticKey
from prov.records.keys import TaskKey
from prov.sharing.claiming import ResultClaims, wait_for_others
from prov.store.objects import Oid
from prov.store.repository import Store

LOOKING = ("begin", "end")
"""Requests that capture a WORKDIR: one at a time per WORKDIR."""
PULSE = 0.05
"""Seconds between readings of what tasks open."""


@dataclass(slots=True)
class _Running:
    """A task that has begun and not ended."""

    task: BuildTask
    beside: dict[str, BuildTask] = field(default_factory=dict)
    """Tasks that have run in the same WORKDIR since this one began."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A request of a task, which waits for the answer on `connection`."""

    connection: socket.socket
    task: BuildTask
    message: TaskRequest
    rest: bytes
    """Part of the body received with the first line."""
    opens: TaskOpens | None = None
    """What a task that has ended opened in its WORKDIR."""

    @property
    def looks(self) -> bool:
        return self.message["what"] in LOOKING


@dataclass(slots=True)
class Writer:
    """Tracks the tasks of a build, and gives each request to a worker."""

    service: Service
    say: Callable[[WriterWord], None]
    """Sends a message to the server."""
    running: dict[str, _Running] = field(default_factory=dict)
    """By task."""
    waiting: list[_Request] = field(default_factory=list)
    """Requests for a WORKDIR that is being captured: captures must not overlap."""
    serving: dict[int, _Request] = field(default_factory=dict)
    """By the file descriptor of the worker."""
    ran: list[TaskRun] = field(default_factory=list)
    packed: dict[str, Packed] = field(default_factory=dict)
    """Task -> the object of shared state that it made or restored in this build."""
    lost: dict[TaskKey, str] = field(default_factory=dict)
    """Task -> why it is not recorded."""
    retained: Store | None = None
    """A store kept open so that gc does not delete packed objects that have no ref yet."""
    watched: WatchedWorkdirs = field(
        default_factory=lambda: WatchedWorkdirs((SYSROOT, SYSROOT_NATIVE), NOT_WATCHED)
    )
    claims: ResultClaims | None = None
    """The claims of this build."""
    _listening: socket.socket | None = None
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _workers: RecordingWorkers = field(init=False)
    _line: bytes = b""
    """Received part of the server's next line."""

    def __post_init__(self) -> None:
        service = self.service
        self._workers = RecordingWorkers(service.serve, service.tidy, self._selector, self._sockets)

    def store(self) -> Store:
        return Store.create(self.service.store_path)

    def lose(self, key: TaskKey, why: str) -> None:
        """Note that a task is not recorded, and report it to the server."""
        self.lost[key] = why
        self.say({"lost": key, "why": why})

    # the loop

    def serve(self, listening: socket.socket, server: int) -> BuildDone | None:
        """Serve tasks until the server closes its pipe; return its message about the build's end.

        Returns None if the server exited without one.
        """
        self._listening = listening
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(server, selectors.EVENT_READ)
        outcome: BuildDone | None = None
        is_open, breathed = True, time.monotonic()
        while is_open or self.serving:
            for key, _ in self._selector.select(PULSE if self.watched.is_active else BREATH):
                if key.fileobj is listening:
                    self._accept(listening)
                elif key.fd == server:
                    piece = os.read(server, 1 << 16)
                    if not piece:
                        is_open = False
                        self._selector.unregister(server)
                    outcome = self._hear_server(piece) or outcome
                else:
                    self._hear_worker(key.data)
            self.watched.drain()
            if time.monotonic() - breathed >= BREATH:
                breathed = time.monotonic()
                self._breathe()
        self._workers.close()
        if self.claims is not None:
            self.claims.close()
        return outcome

    def _sockets(self) -> list[socket.socket]:
        """Return the open sockets, except those of workers."""
        requests = [*self.serving.values(), *self.waiting]
        listening = [self._listening] if self._listening is not None else []
        return [*listening, *(request.connection for request in requests)]

    def _breathe(self) -> None:
        """Send a heartbeat to all waiting tasks."""
        for request in [*self.serving.values(), *self.waiting]:
            with contextlib.suppress(OSError):  # the task was killed
                request.connection.send(b" ")

    # the server

    def _hear_server(self, piece: bytes) -> BuildDone | None:
        """Answer the server's questions; return its message about the build's end, if received."""
        *lines, self._line = (self._line + piece).split(b"\n")
        outcome = None
        for line in lines:
            try:
                fields = read_object(line)
                word = read_server_word(fields)
            except InvalidMessage as error:
                self.say({"note": str(error)})
                continue
            if word["what"] == "done":
                outcome = word
            elif word["what"] == "equivalences":
                self._report_equivalences(word)
            else:
                self._report_objects(word)
        return outcome

    def _report_equivalences(self, question: EquivalencesQuestion) -> None:
        equivalences = Equivalences()
        with contextlib.suppress(ProvError, OSError):  # the build goes on without any
            shared = self._shared(network=question["network"])
            fetch_lines(shared.caches)
            equivalences = read_lines(shared.store, set(question["known"]))
            for note in [*shared.take_notes(), *equivalences.notes]:
                self.say({"note": note})
        self.say({"equivalences": equivalences.by_build})

    def _report_objects(self, question: WhichQuestion) -> None:
        available: set[str] = set()
        with contextlib.suppress(ProvError, OSError):  # the build goes on without any
            names = {tid: ObjectName(*parts) for tid, parts in question["objects"].items()}
            shared = self._shared(network=question["network"])
            available = shared.which(names)
            missing = [name for tid, name in names.items() if tid not in available]
            if missing and self._await_others(shared, missing, question.get("wait", 0.0)):
                available = shared.which(names)
            for note in shared.take_notes():
                self.say({"note": note})
        self.say({"which": sorted(available)})

    def _await_others(
        self, shared: SharedObjects, missing: Sequence[ObjectName], seconds: float
    ) -> bool:
        """Wait for missing objects that other builds make, and prepare to claim the others.

        Returns whether objects have become available.
        """
        remote = claimed_remote(shared.caches.usable)
        if remote is None:
            return False
        store, access = shared.store, shared.caches.access
        if self.claims is None:
            self.claims = ResultClaims(store, remote, access, self._close_sockets)
        for name in missing:
            self.claims.expect(name.pn, name.static_key)
        # running tasks would wait, too
        if not seconds or self.running:
            return False
        names: dict[Oid, str] = {name.static_key: name.key for name in missing}
        return wait_for_others(store, remote, access, names, seconds, self._note)

    def _note(self, text: str) -> None:
        self.say({"note": text})

    def _close_sockets(self) -> None:
        """Close the sockets of this process, in a fork."""
        for each in self._sockets():
            each.close()

    def _shared(self, *, network: bool) -> SharedObjects:
        """Return the objects of shared state, for a question that changes what is known of them."""
        self._workers.renew()
        return self.service.shared(network=network)

    # requests

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(BREATH)
        task = None
        try:
            line, rest = read_header(connection)
            fields = read_object(line)
            task = BuildTask.of(read_names(fields))
            message = read_request(fields)
            request = _Request(connection, task, message, rest, self._ended(task, message))
        except (OSError, ProvError) as error:
            if task is not None and fields.get("what") in LOOKING:
                self._forget(task)
                self.lose(task.key, str(error))
            send_answer(connection, {"error": str(error)})
            return
        self.waiting.append(request)
        self._serve_waiting()

    def _ended(self, task: BuildTask, message: TaskRequest) -> TaskOpens | None:
        """Return what a task opened if it has ended.

        Other tasks, and captures, open files in its WORKDIR while the request is waiting.
        """
        if message["what"] != "end":
            return None
        return self.watched.end(task.workdir, task.key)

    def _forget(self, task: BuildTask) -> None:
        self.running.pop(task.key, None)
        self.watched.end(task.workdir, task.key)

    def _serve_waiting(self) -> None:
        """Start the requests that can start, in the order of arrival."""
        busy = {request.task.workdir for request in self.serving.values() if request.looks}
        for request in list(self.waiting):
            if request.looks and request.task.workdir in busy:
                continue
            self.waiting.remove(request)
            if self._serve(request) and request.looks:
                busy.add(request.task.workdir)

    def _serve(self, request: _Request) -> bool:
        """Give a request to a worker; return whether the request needs one."""
        task, message = request.task, request.message
        if message["what"] == "begin":
            self._begin(task)
            # other tasks that run in the WORKDIR record its changes
            if self.running[task.key].beside:
                self.watched.begin(task.workdir, task.key)
                send_answer(request.connection, {})
                return False
        elif message["what"] == "installed":
            self.watched.installed(task.workdir, task.key)
            send_answer(request.connection, {})
            return False
        elif message["what"] == "lost":
            self._forget(task)
            self.lose(task.key, message["why"])
            send_answer(request.connection, {})
            return False
        elif message["what"] == "archive":
            self._retain_objects()
        beside = self._beside(task)
        if message["what"] == "end":
            self.running.pop(task.key, None)
            self.watched.begin_capture(task.workdir)
        packed = self.packed.get(task.key)
        job = TaskJob(task, message, request.rest, beside, packed, request.opens)
        worker = self._workers.start(job, request.connection, task.key)
        self.serving[worker.fileno()] = request
        return True

    def _begin(self, task: BuildTask) -> None:
        if self.claims is not None and not task.setscene:
            self.claims.begin(task.pn)
        mine = self.running[task.key] = _Running(task)
        for other in self.running.values():
            if other is not mine and other.task.workdir == task.workdir:
                mine.beside[other.task.key] = other.task
                other.beside[task.key] = task

    def _beside(self, task: BuildTask) -> dict[str, tuple[str, ...]]:
        """Return the tasks that ran at the same time -> their directories, none if they ended."""
        mine = self.running.get(task.key) or _Running(task)
        return {
            name: other.owned if name in self.running else () for name, other in mine.beside.items()
        }

    def _retain_objects(self) -> None:
        """Protect packed objects from gc until they have a ref."""
        if self.retained is None:
            with contextlib.suppress(ProvError, OSError):  # packing will report the error
                self.retained = self.store()
                self.retained.objects.writer()

    # results

    def _hear_worker(self, worker: RecordingWorker) -> None:
        """Read the result of a worker; when it is complete, answer the task."""
        number = worker.fileno()
        result_of = self._workers.hear(worker)
        if result_of is None:
            return
        request = self.serving.pop(number)
        task, what = request.task, request.message["what"]
        if what == "end":
            self.watched.end_capture(task.workdir)
        elif what == "begin":  # after the capture, whose opens are not the task's
            self.watched.begin(task.workdir, task.key)
        self._serve_waiting()
        try:
            result = result_of()
        except Exception as error:  # no error may stop the build
            send_answer(request.connection, self._note_failure(request, error))
            return
        send_answer(request.connection, self._note_result(request, result))

    def _note_failure(self, request: _Request, error: Exception) -> TaskAnswer:
        """Report that a request failed, and return the answer for the task."""
        key, kind = request.task.key, request.message["what"]
        hint = getattr(error, "hint", "")
        refused = isinstance(error, SysrootError)  # the task would also fail without prov
        if request.looks:  # for other requests, the layer has a fallback
            self.lose(key, f"{error} ({hint})" if hint else str(error))
        elif kind == "sysroot" and not refused:
            self.say({"plain": key, "why": str(error)})
        return {"error": str(error), "refused": refused, "hint": hint}

    def _note_result(self, request: _Request, result: object) -> TaskAnswer:
        """Store the result of a worker, and return the answer for the task."""
        task, message = request.task, request.message
        if isinstance(result, Captured):
            assert message["what"] == "end"
            self.ran.append(TaskRun.of(task, message, result))
            packed = self.packed.get(task.key)
            if not result.shared:
                self.packed.pop(task.key, None)
            elif self.claims is not None and packed is not None and not packed.taken:
                self.claims.made(task.key, result.task_hash, StaticKey(packed.key))
        elif isinstance(result, Packed):
            self.packed[task.key] = result
            return {"packed": result.ids}
        elif isinstance(result, Unpacked):
            self.packed[task.key] = result.packed
            return {"entries": result.entries}
        elif isinstance(result, bool):
            return {"has": result}
        return {}
