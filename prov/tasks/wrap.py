"""Record directories and commands without recipes, with the same commits, tags and logs as tasks.

A directory has one line of history, independent of the names of its captures: each commit's first
parent is the last recorded state of the directory, or its state before the command.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import CaptureError, ProvError
from prov.files import locked
from prov.processes import follow
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records, new_run
from prov.records.output import Output
from prov.records.refs import TAGS, DirectoryRef
from prov.records.run import Run, RunIds, Start, author, empty_start, write_run, write_workdir
from prov.store.joining import consolidate
from prov.store.objects import MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY
from prov.worktree.exclude import VERSION_CONTROL, Exclude, inside
from prov.worktree.snapshot import Snapshot, capture, remember

KEPT_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "MAKEFLAGS",
)
"""The caller's variables to record. This is an allow-list, because others may contain secrets."""


@dataclass(frozen=True, slots=True)
class RecordedDirectory:
    """A recorded capture or run: its tag, and the command's exit status."""

    tag: str
    commit: CommitId
    code: int = 0


@dataclass(frozen=True, slots=True)
class _Ran:
    code: int = 0
    seconds: float = 0.0
    log: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Directory:
    store: Store
    directory: Path
    writer: ObjectWriter
    exclude: Sequence[str] = ()

    @property
    def identifier(self) -> str:
        return hashlib.sha1(os.fsencode(self.directory.resolve())).hexdigest()

    @property
    def ref(self) -> str:
        return str(DirectoryRef(bytes.fromhex(self.identifier)))

    @property
    def memory(self) -> Path:
        return self.store.cache / "workdirs" / f"plain-{self.identifier}"

    def capture(self) -> Snapshot:
        exclude = Exclude(
            [*VERSION_CONTROL, *inside(self.directory, self.store.path), *self.exclude]
        )
        return capture(self.store, self.directory, self.writer, memory=self.memory, exclude=exclude)

    def before(self) -> Start:
        commit = self.store.refs.get(self.ref)
        return (
            Start(CommitId(commit), Records(self.store).workdir(commit))
            if commit
            else empty_start(self.writer)
        )

    def found(self) -> Start:
        """Return the current state of the directory; commit it if it is not recorded."""
        before, snapshot = self.before(), self.capture()
        if snapshot.pair == before.pair:
            return before
        commit = write_workdir(
            self.writer,
            snapshot.pair,
            before.commit,
            author(time.time()),
            "changed outside any task",
        )
        return Start(commit, snapshot.pair)

    def record(
        self, key: TaskKey, inputs: Mapping[str, bytes], start: Start, ran: _Ran
    ) -> tuple[str, RunIds]:
        entries = [
            Entry(name.encode(), MODE_FILE, self.writer.add("blob", text))
            for name, text in inputs.items()
        ]
        task_hash = TaskHash(self.writer.add_tree(entries))
        snapshot = self.capture()
        output = Output(snapshot.output(b"", self.writer) or EMPTY) if ran.code == 0 else None
        facts = {
            "result": "ok" if ran.code == 0 else f"failed: exit status {ran.code}",
            "began": f"{time.time() - ran.seconds:.3f}",
            "seconds": f"{ran.seconds:.3f}",
            "workdir": str(self.directory.resolve()),
        }
        made = Run(
            key,
            task_hash,
            start,
            snapshot.pair,
            output,
            ran.log,
            ran.environment,
            facts,
        )
        recorded = write_run(self.writer, made, author(time.time()))
        self.writer.finish()
        tag = new_run(self.store, key, task_hash, recorded.commit, failed=ran.code != 0)
        self.store.refs.update(tag, RefUpdate(self.ref, recorded.commit))
        remember(snapshot, self.memory)
        return tag.name.removeprefix(TAGS), recorded


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise CaptureError(f"{directory} is not a directory")


def capture_as(
    store: Store, directory: Path, name: str, exclude: Sequence[str] = ()
) -> RecordedDirectory:
    """Commit and tag a directory, except for excluded files and version control's data.

    Raises CaptureError.
    """
    key = TaskKey.parse(name)
    _check_directory(directory)
    with locked(store.cache / "locks" / "plain"), store.objects.writer() as writer:
        place = _Directory(store, directory, writer, exclude)
        start = place.before()
        inputs = {"task": f"task {name}\n".encode(), "start": f"{start.pair.tree.hex()}\n".encode()}
        tag, recorded = place.record(key, inputs, start, _Ran())
    consolidate(store.objects)
    return RecordedDirectory(tag, recorded.commit)


def run_as(
    store: Store,
    directory: Path,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
    exclude: Sequence[str] = (),
) -> RecordedDirectory:
    """Run a command in a directory; commit and tag its changes and its output.

    The output is also passed to `passed` as it appears. Excluded files and version control's data
    are ignored.
    """
    key = TaskKey.parse(name)
    _check_directory(directory)
    with locked(store.cache / "locks" / "plain"), store.objects.writer() as writer:
        place = _Directory(store, directory, writer, exclude)
        start = place.found()
        writer.finish()
        begun = time.monotonic()
        code, log = _run(command, directory, environment, passed)
        seconds = time.monotonic() - begun
        inputs = {
            "task": f"task {name}\n".encode(),
            "command": f"{shlex.join(command)}\n".encode("utf-8", "surrogateescape"),
            "start": f"{start.pair.tree.hex()}\n".encode(),
        }
        kept = {key: value for key, value in environment.items() if key in KEPT_ENVIRONMENT}
        tag, recorded = place.record(key, inputs, start, _Ran(code, seconds, log, kept))
    consolidate(store.objects)
    return RecordedDirectory(tag, recorded.commit, code)


def _run(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
) -> tuple[int, bytes]:
    """Run a command and pass on its output as it appears; return exit status and output."""
    log = bytearray()
    try:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise ProvError(
            f"cannot run {command[0]}: {error.strerror}",
            hint="check that the program is installed and executable",
        ) from error

    def keep(chunk: bytes) -> None:
        log.extend(chunk)
        passed(chunk)

    with process:
        status = follow(process, keep)
    return status if status >= 0 else 128 - status, bytes(log)
