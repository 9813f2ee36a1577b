"""A directory whose states are recorded without recipes.

A directory has one line of history, independent of the names of its runs: each commit's first
parent is the last recorded state of the directory, or its state before the command.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prov.errors import CaptureError
from prov.files import locked
from prov.records.ids import CommitId
from prov.records.lookup import Records
from prov.records.refs import DirectoryRef
from prov.records.run import Start, author, empty_start, write_workdir
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.exclude import VERSION_CONTROL, Exclude, inside
from prov.worktree.snapshot import Snapshot, capture, remember
from prov.wrapped.version_control import ignored_paths


@dataclass(frozen=True, slots=True)
class Omissions:
    """Which paths to skip, besides version control data and the store."""

    exclude: tuple[str, ...] = ()
    """gitignore patterns."""
    gitignore: bool = False
    """Whether to skip what git ignores, except for `outputs`."""
    outputs: tuple[str, ...] = ()
    """Folders relative to the directory."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, while its state is recorded."""

    store: Store
    path: Path
    writer: ObjectWriter
    omissions: Omissions = Omissions()

    @property
    def ref(self) -> str:
        """The ref of the last recorded state."""
        return str(DirectoryRef(bytes.fromhex(_identifier(self.path))))

    @property
    def memory(self) -> Path:
        """The cache file that makes the next capture fast."""
        return self.store.cache / "workdirs" / f"plain-{_identifier(self.path)}"

    def capture(self) -> Snapshot:
        """Capture the current state. Raises CaptureError, and StoreError if git fails."""
        return capture(
            self.store, self.path, self.writer, memory=self.memory, exclude=self.excluded()
        )

    def excluded(self) -> Exclude:
        """Return which paths are skipped now. Raises StoreError if git fails."""
        omissions, own = self.omissions, inside(self.path, self.store.path)
        ignored = ignored_paths(self.path, omissions.outputs) if omissions.gitignore else ()
        return Exclude([*VERSION_CONTROL, *own, *omissions.exclude], paths=ignored)

    def last(self) -> Start:
        """Return the last recorded state."""
        commit = self.store.refs.get(self.ref)
        if commit is None:
            return empty_start(self.writer)
        return Start(CommitId(commit), Records(self.store).workdir(commit))

    def settle(self) -> Start:
        """Return the current state; record it if it differs from the last recorded state."""
        last, snapshot = self.last(), self.capture()
        if snapshot.pair == last.pair:
            return last
        commit = write_workdir(
            self.writer,
            snapshot.pair,
            last.commit,
            author(time.time()),
            "changed outside any task",
        )
        self.writer.finish()
        self.store.refs.update(RefUpdate(self.ref, commit))
        remember(snapshot, self.memory)
        return Start(commit, snapshot.pair)


@contextmanager
def recording(store: Store, path: Path, omissions: Omissions) -> Iterator[Directory]:
    """Yield a directory to record; no other process records it meanwhile.

    Raises CaptureError if the directory does not exist.
    """
    if not path.is_dir():
        raise CaptureError(f"{path} is not a directory")
    lock = store.cache / "locks" / f"plain-{_identifier(path)}"
    with locked(lock), store.objects.writer() as writer:
        yield Directory(store, path, writer, omissions)


def _identifier(path: Path) -> str:
    return hashlib.sha1(os.fsencode(path.resolve())).hexdigest()
