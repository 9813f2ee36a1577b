"""Serve a task's request in a worker process, which keeps the store open between requests."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.bitbake.capture import BuildTask, Captured, Packed, begin, end
from prov.bitbake.connection import BREATH, read_body, send_answer
from prov.bitbake.messages import EndRequest, TaskRequest, UnpackRequest, read_sysroots_body
from prov.bitbake.shared_state import (
    ObjectName,
    SharedObjects,
    Unpacked,
    archive,
    clean,
    unpack,
)
from prov.bitbake.sysroots import compose
from prov.errors import ProvError
from prov.reads.reads import Reads
from prov.reads.workdirs import TaskOpens
from prov.store.joining import consolidate
from prov.store.objects import Oid
from prov.store.repository import Store

MOST_TEXTS = 50_000
"""Number of texts that a worker remembers, of about 500 bytes each."""


@dataclass(frozen=True, slots=True)
class TaskJob:
    """A request, and what the writer knows about its task."""

    task: BuildTask
    message: TaskRequest
    rest: bytes
    """Part of the body received with the first line."""
    beside: Mapping[str, tuple[str, ...]]
    """Tasks that ran in the WORKDIR at the same time -> their directories, none if they ended."""
    packed: Packed | None
    """The object of shared state that the task made or restored."""
    opens: TaskOpens | None = None
    """What a task that has ended opened in its WORKDIR; None if it is unknown."""


@dataclass(slots=True)
class _OpenStore:
    """A store that stays open between requests."""

    store: Store
    folder: int
    """Descriptor of its folder, whose inode number is not used again while it is open."""
    texts: dict[str, Oid] = field(default_factory=dict)
    """Blobs of texts in the store: most variables are inputs of many tasks."""

    @staticmethod
    def at(path: Path) -> _OpenStore:
        store = Store.create(path)
        return _OpenStore(store, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def is_at(self, path: Path) -> bool:
        """Return whether this is still the store at a path: a user can delete or move it."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.stat(path), os.fstat(self.folder))
        return False


@dataclass(slots=True)
class Service:
    """Serves requests. A worker inherits it from the writer and calls `serve`."""

    store_path: Path
    environment: Mapping[str, str]
    """Environment of the user that started the build, which git needs to reach remotes."""
    _opened: _OpenStore | None = None
    _objects: SharedObjects | None = None

    def store(self) -> Store:
        """Return the store; create it if it is missing. Raises ProvError, OSError."""
        return self._open().store

    def _open(self) -> _OpenStore:
        if self._opened is not None and not self._opened.is_at(self.store_path):
            self._close()
        if self._opened is None:
            self._opened = _OpenStore.at(self.store_path)
        return self._opened

    def _close(self) -> None:
        if self._opened is not None:
            os.close(self._opened.folder)
            self._opened = None

    def shared(self, *, network: bool) -> SharedObjects:
        """Return the objects of shared state in the store and its remotes."""
        if self._objects is None:
            self._objects = SharedObjects.open(
                Store.open(self.store_path), self.environment, network=network
            )
        return self._objects

    def serve(self, job: TaskJob, connection: socket.socket) -> object:
        """Serve a request, and return its result; raise ProvError or OSError if it fails."""
        connection.settimeout(BREATH)
        try:
            return self._serve(job, connection)
        except BaseException:
            # the store may be what failed; and texts of a task that failed were not stored
            self._close()
            raise

    def tidy(self) -> None:
        """Join small packs if there are many: each object is searched in all of them."""
        if self._opened is None:
            return
        if len(self._opened.texts) > MOST_TEXTS:
            self._opened.texts.clear()
        with contextlib.suppress(ProvError, OSError):  # the build goes on with many packs
            consolidate(self._opened.store.objects)

    def _serve(self, job: TaskJob, connection: socket.socket) -> object:
        task, message = job.task, job.message
        body = read_body(connection, job.rest, message["body"])
        if message["what"] == "begin":
            begin(self.store(), task)
        elif message["what"] == "end":
            return self._end(job, message, body, lambda: send_answer(connection, {}))
        elif message["what"] == "archive":
            return archive(self.store(), message, body)
        elif message["what"] == "unpack":
            return self._unpack(message)
        elif message["what"] == "has":
            return self.shared(network=False).has(ObjectName(*message["object"]))
        elif message["what"] == "clean":
            clean(self.store(), ObjectName(*message["object"]))
        elif message["what"] == "sysroot":
            compose(self.store(), read_sysroots_body(body)["sysroots"])
        return None

    def _end(
        self, job: TaskJob, message: EndRequest, body: bytes, release: Callable[[], None]
    ) -> Captured:
        packed = job.packed or Packed.of(message.get("packed", ()))

        def on_read() -> None:
            # A task that packed an object waits until it has a ref, or else writes an archive.
            if packed is None or packed.taken:
                release()

        opened = self._open()
        return end(
            opened.store,
            job.task,
            message,
            body,
            job.beside,
            packed,
            on_read,
            texts=opened.texts,
            reads=_reads(job, message),
        )

    def _unpack(self, message: UnpackRequest) -> Unpacked:
        packed = Packed.of(message.get("packed", ()))
        if packed is None:
            name = ObjectName(*message["object"])
            shared = self.shared(network=False)
            shared.bring(name)
            packed = shared.packed(name)
        folder = Path(message["folder"])
        return unpack(self.store(), packed, folder, faked=message["faked"])


def _reads(job: TaskJob, message: EndRequest) -> Reads | None:
    """Return what a task read; None for one that only restored shared state."""
    if job.opens is None or job.task.setscene:
        return None
    # under pseudo, the task's process has listed folders for prov
    return job.opens.reads(is_listed_by_prov=message["faked"], outside=bool(message["outside"]))
