"""The process that records a BitBake build: one a build, started by BitBake's server and ended with
it.

Tasks knock at a socket when they begin and when they have ended, and wait for the answer, so that
nothing changes under the capture. Each is served by a fork of its own: this process only keeps the
account of who runs where. The server speaks through a pipe, whose end is the build's, and hears
through another one, a line of JSON each.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prov.bitbake.builds import Ran, record, recover
from prov.bitbake.capture import Captured, Packed, Task, begin, end
from prov.bitbake.equivalence import Lines, fetch_lines, read_lines
from prov.bitbake.publishing import publish
from prov.bitbake.shared import ObjectName, Shared, Unpacked, archive, clean, unpack
from prov.bitbake.signature import recipe_name
from prov.bitbake.sysroots import compose
from prov.errors import ProvError, SysrootError
from prov.files import try_locked
from prov.processes import Child, decode_answer, start_child
from prov.records.keys import TaskKey
from prov.store.git import git_program
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.upkeep.background import start_upkeep

BREATH = 10.0
"""Seconds between signs of life to those who wait."""
QUESTIONS = ("begin", "end", "lost", "archive", "unpack", "has", "clean", "sysroot")
HEADER = 1 << 20
"""Bytes that a request's first line may have."""


@dataclass(slots=True)
class _Running:
    """A task between its begin and its end."""

    task: Task
    beside: dict[str, Task] = field(default_factory=dict)
    """Tasks that were in the same WORKDIR at any time since."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What a task asked; `rest` is what came of its body with the first line."""

    connection: socket.socket
    task: Task
    told: Mapping[str, Any]
    rest: bytes


@dataclass(slots=True)
class _Serving:
    """A fork at work for a task, which waits at the other end of `connection`."""

    child: Child
    connection: socket.socket
    task: Task
    told: Mapping[str, Any]
    answer: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Writer:
    """Keeps the account of a build's tasks."""

    store_path: Path
    say: Callable[[Mapping[str, object]], None]
    """Tells the server something."""
    running: dict[str, _Running] = field(default_factory=dict)
    """By task."""
    waiting: list[_Request] = field(default_factory=list)
    """For the fork that is at work in the same WORKDIR: what one begins to change, another one must
    not see.
    """
    serving: dict[int, _Serving] = field(default_factory=dict)
    """By the descriptor of its fork's answer."""
    ran: list[Ran] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of whoever started the build: what git needs to reach remotes."""
    shared: Shared | None = None
    packed: dict[str, Packed] = field(default_factory=dict)
    """Task -> the object of shared state that it made, or took, in this build."""
    lost: dict[TaskKey, str] = field(default_factory=dict)
    """Task -> why it is not recorded."""
    held: Store | None = None
    """Keeps what is packed and no ref holds yet from being collected, until the task has ended."""
    _listening: socket.socket | None = None
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def store(self) -> Store:
        return Store.create(self.store_path)

    # the loop

    def serve(self, listening: socket.socket, server: int) -> Mapping[str, Any] | None:
        """Serve tasks until the server says that the build is over, or is gone: None then."""
        said, self._listening = b"", listening
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(server, selectors.EVENT_READ)
        last: Mapping[str, Any] | None = None
        open_, breathed = True, time.monotonic()
        while open_ or self.serving:
            for key, _ in self._selector.select(BREATH):
                if key.fileobj is listening:
                    self._accept(listening)
                elif key.fd == server:
                    piece = os.read(server, 1 << 16)
                    if not piece:
                        open_ = False
                        self._selector.unregister(server)
                    *lines, said = (said + piece).split(b"\n")
                    for line in lines:
                        last = self._told(json.loads(line)) or last
                else:
                    self._hear(self.serving[key.fd])
            if time.monotonic() - breathed < BREATH:
                continue
            breathed = time.monotonic()
            waiting = [each.connection for each in self.waiting]
            for connection in [*(each.connection for each in self.serving.values()), *waiting]:
                with contextlib.suppress(OSError):  # who does not wait any more need not be told
                    connection.send(b" ")
        return last

    def _told(self, word: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Answer a question of the server's; return the word by which a build ends."""
        if word["what"] == "done":
            return word
        if word["what"] == "equivalences":
            lines = Lines()
            with contextlib.suppress(ProvError, OSError):
                shared = self._shared(network=word["network"])
                fetch_lines(shared.caches)
                lines = read_lines(shared.store, set(word["known"]))
                for note in [*shared.notes(), *lines.notes]:
                    self.say({"note": note})
            self.say({"equivalences": lines.by_build})
            return None
        found: set[str] = set()
        with contextlib.suppress(ProvError, OSError):  # then there is nothing to take
            names = {tid: ObjectName(*name) for tid, name in word["objects"].items()}
            shared = self._shared(network=word["network"])
            found = shared.which(names)
            for note in shared.notes():
                self.say({"note": note})
        self.say({"which": sorted(found)})
        return None

    def _shared(self, *, network: bool) -> Shared:
        if self.shared is None:
            self.shared = Shared.open(
                Store.open(self.store_path), self.environment, network=network
            )
        return self.shared

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(BREATH)
        try:
            told, rest = _read_header(connection)
            task = Task.of(told)
            if told["what"] not in QUESTIONS:
                raise ValueError(f"{told['what']!r} is nothing that tasks ask")
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ProvError) as error:
            _answer(connection, {"error": str(error)})
            return
        self.waiting.append(_Request(connection, task, told, rest))
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        """Start what can start: of those that look at a WORKDIR one at a time, in the order in
        which they came.
        """
        looking = ("begin", "end")
        busy = {each.task.workdir for each in self.serving.values() if each.told["what"] in looking}
        for request in list(self.waiting):
            looks = request.told["what"] in looking
            if looks and request.task.workdir in busy:
                continue
            self.waiting.remove(request)
            if self._serve(request) and looks:
                busy.add(request.task.workdir)

    def _serve(self, request: _Request) -> bool:
        """Start a fork for a request, and tell whether it needs one."""
        connection, task, told, rest = request.connection, request.task, request.told, request.rest
        if told["what"] == "begin":
            self._begin(task)
        mine = self.running.get(task.key) or _Running(task)
        if told["what"] == "end":
            self.running.pop(task.key, None)
        elif told["what"] == "lost":
            self.running.pop(task.key, None)
            self.lose(task.key, str(told.get("why", "")))
            _answer(connection, {})
            return False
        elif told["what"] == "begin" and mine.beside:  # what these changed is theirs to tell
            _answer(connection, {})
            return False
        if told["what"] == "archive" and self.held is None:
            with contextlib.suppress(ProvError, OSError):  # then nothing is packed
                self.held = self.store()
                self.held.objects.writer()
        beside = {
            name: other.owned if name in self.running else () for name, other in mine.beside.items()
        }

        def work() -> object:
            if self._listening is not None:
                self._listening.close()
            body = _read_body(connection, rest, int(told["body"]))
            match told["what"]:
                case "begin":
                    begin(self.store(), task)
                case "end":
                    packed = self.packed.get(task.key) or Packed.of(told)
                    # A task that packed an object waits until a ref holds it: else it writes the
                    # archive.
                    waits = packed is not None and not packed.taken
                    seen = (lambda: None) if waits else (lambda: _answer(connection, {}))
                    return end(self.store(), task, told, body, beside, packed, seen)
                case "archive":
                    return archive(self.store(), told, body)
                case "unpack":
                    packed = Packed.of(told)
                    if packed is not None:
                        return unpack(self.store(), packed, told)
                    name = ObjectName(*told["object"])
                    shared = self._shared(network=False)
                    shared.bring(name)
                    return unpack(self.store(), shared.packed(name), told)
                case "has":
                    return self._shared(network=False).has(ObjectName(*told["object"]))
                case "clean":
                    clean(self.store(), ObjectName(*told["object"]))
                case "sysroot":
                    compose(self.store(), json.loads(body))
            return None

        child = start_child(work)
        self.serving[child.answer] = _Serving(child, connection, task, told)
        self._selector.register(child.answer, selectors.EVENT_READ)
        return True

    def _begin(self, task: Task) -> None:
        mine = self.running[task.key] = _Running(task)
        for other in self.running.values():
            if other is not mine and other.task.workdir == task.workdir:
                mine.beside[other.task.key] = other.task
                other.beside[task.key] = task

    def _hear(self, serving: _Serving) -> None:
        """Take what a fork says; when it has ended, answer the task."""
        piece = os.read(serving.child.answer, 1 << 16)
        if piece:
            serving.answer += piece
            return
        fd = serving.child.answer
        self._selector.unregister(fd)
        del self.serving[fd]
        os.close(fd)
        status = os.waitpid(serving.child.pid, 0)[1]
        self._serve_waiting()
        task = serving.task
        try:
            found = decode_answer(bytes(serving.answer), status, task.key)
        except Exception as error:  # whatever it is, the build goes on
            hint = getattr(error, "hint", "")
            if serving.told["what"] in ("begin", "end"):  # the rest is done in another way
                self.lose(task.key, f"{error}{f' ({hint})' if hint else ''}")
            refused = isinstance(error, SysrootError)  # what no other way would come around
            if serving.told["what"] == "sysroot" and not refused:
                self.say({"plain": task.key, "why": str(error)})
            _answer(serving.connection, {"error": str(error), "refused": refused, "hint": hint})
            return
        answer: dict[str, Any] = {}
        if isinstance(found, Captured):
            self.ran.append(Ran.of(task, serving.told, found))
            if not found.shared:
                self.packed.pop(task.key, None)
        elif isinstance(found, Packed):
            self.packed[task.key] = found
            answer["packed"] = found.ids
        elif isinstance(found, Unpacked):
            self.packed[task.key] = found.packed
            answer["entries"] = found.entries
        elif found is not None:
            answer["has"] = found
        _answer(serving.connection, answer)

    def lose(self, key: TaskKey, why: str) -> None:
        """Note that a task is not recorded, and tell the server."""
        self.lost[key] = why
        self.say({"lost": key, "why": why})


def _read_header(connection: socket.socket) -> tuple[Mapping[str, Any], bytes]:
    data = b""
    while b"\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece or len(data) > HEADER:
            raise ValueError("a request without an end")
        data += piece
    line, _, rest = data.partition(b"\n")
    return json.loads(line), rest


def _read_body(connection: socket.socket, start: bytes, size: int) -> bytes:
    data = bytearray(start)
    while len(data) < size:
        piece = connection.recv(1 << 20)
        if not piece:
            raise ValueError("a request that breaks off")
        data += piece
    return bytes(data)


def _answer(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError), connection:
        connection.sendall(json.dumps(answer).encode() + b"\n")


def listen(path: Path) -> socket.socket:
    """Return a socket at a path, however long that is; what a writer that died left there is
    replaced.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = f"{path.name}.{os.getpid()}"
    try:
        umask = os.umask(0o077)
        try:
            listening.bind(f"/proc/self/fd/{folder}/{beside}")
        finally:
            os.umask(umask)
        listening.listen(256)
        os.rename(path.with_name(beside), path)
    finally:
        os.close(folder)
    return listening


def run(store: Path, path: Path, server: tuple[int, int], environment: Mapping[str, str]) -> None:
    """Record a build, until the server closes what it speaks through: descriptors to hear it by,
    and to answer it.

    Raises ProvError where another writer is at work here.
    """
    heard, told = server

    def say(word: Mapping[str, object]) -> None:
        with contextlib.suppress(OSError):  # the server is gone
            os.write(told, json.dumps(word).encode() + b"\n")

    # whoever started BitBake may ignore SIGCHLD: then no fork could be waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with try_locked(path.with_name(path.name + ".lock")) as alone:
        if not alone:
            raise ProvError(
                f"another writer is at work at {path}", hint="is a build still ending there?"
            )
        git_program()  # asked for its version once, and not by each fork
        writer = Writer(store, say, environment=environment)
        listening = listen(path)
        say({"ready": os.getpid()})
        try:
            last = writer.serve(listening, heard)
        finally:
            path.unlink(missing_ok=True)
            listening.close()
        recorded = _finish(writer, last)
        say({"recorded": recorded.hex() if recorded else ""})
        if writer.held is not None:
            writer.held.objects.release()
        if writer.ran:
            start_upkeep(writer.store(), None)


def _finish(writer: Writer, last: Mapping[str, Any] | None) -> Oid | None:
    """Record the build as a whole; nothing where no task ran, as in a dry run."""
    if not writer.ran and (last is None or not writer.store_path.is_dir()):
        return None
    told = last or {
        "targets": [],
        "result": "interrupted",
        "began": writer.ran[0].began,
        "skipped": [],
        "executed": [],
    }
    store = writer.store()
    writer.ran += recover(store, missing_of(writer, told), float(told["began"]))
    if not writer.ran:
        return None
    for key in missing_of(writer, told):
        writer.lose(key, "its process sent no report")
    build = record(store, writer.ran, told, writer.lost)
    network = bool(told.get("network"))
    publish(
        store,
        writer.ran,
        writer.packed,
        writer.environment,
        lambda text: writer.say({"note": text}),
        network=network,
    )
    return build


def missing_of(writer: Writer, told: Mapping[str, Any]) -> dict[TaskKey, str]:
    """Return the tasks that the server saw ending, and of which nothing came, each with BitBake's
    hash.
    """
    known = {each.key for each in writer.ran} | writer.lost.keys()
    executed = {
        TaskKey.of(recipe_name(mc, pn), task): task_hash
        for mc, pn, task, task_hash, _ in told["executed"]
    }
    return {key: task_hash for key, task_hash in sorted(executed.items()) if key not in known}
