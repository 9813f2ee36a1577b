"""Watch directories for the files that a command opens, by the kernel's inotify (inotify(7)).

inotify reports opened and executed files and listed folders, also through bind mounts, and needs no
privileges. It reports the path after symbolic links. It does not report failed lookups, uses of
`stat`, links on the way, or the process: if other processes open files in the directories at the
same time, these files are listed too.

A watch covers the folders that exist when the command starts. Files that the command itself creates
are not its input, and are not listed.
"""

from __future__ import annotations

import os
import select
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from prov.reads.inotify import (
    EVENT,
    IN_CREATE,
    IN_DONT_FOLLOW,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_OPEN,
    IN_Q_OVERFLOW,
    add_watch,
    open_instance,
    queued,
    remove_watch,
    split_events,
    watch_problem,
)
from prov.reads.reads import COMPLETE, NOT_RECORDED, Read, Reads, incomplete

_BATCH_MILLISECONDS = 20
"""How long events may wait in the kernel's queue.

The queue holds `fs.inotify.max_queued_events`, by default 16,384 events.
"""
_MOST_REMOVED = 4096
"""The number of watches from which closing the instance is faster than removing them."""


@dataclass(frozen=True, slots=True)
class WatchedTree:
    """A directory to watch, with the folders in it."""

    path: Path
    seen: str
    """Its path as the command sees it."""
    folders: Collection[bytes] | None = None
    """The paths of the folders in it; None to list them on disk."""
    skipped: frozenset[bytes] = frozenset()
    """Names of entries of the directory that are not watched, if its folders are listed."""
    writable: bool = False
    """Whether the command can create files in it."""
    shared: bool = False
    """Whether other tasks can open files in it at the same time."""


@dataclass(frozen=True, slots=True)
class _WatchedFolder:
    """A watched folder."""

    seen: bytes
    tree: WatchedTree


@dataclass(slots=True)
class DirectoryWatch:
    """The watched directories of one command, and the events in them."""

    _instance: int = -1
    _folders: dict[int, _WatchedFolder] = field(default_factory=dict)
    """The folder of each watch."""
    _events: dict[bytes, None] = field(default_factory=dict)
    """Each event that the kernel reported, once, in the order of the first reports."""
    _problem: str = ""

    def follow(self, pid: int) -> None:
        """Collect events until a child process ends, without reaping it."""
        if self._instance < 0:
            return
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            self._problem = f"cannot follow the command: {error.strerror}"
            return
        try:
            self._follow(process)
        finally:
            os.close(process)
        # the kernel queues an event before the call that causes it returns
        self._drain()

    def _follow(self, process: int) -> None:
        anything, end = select.poll(), select.poll()
        for poll in (anything, end):
            poll.register(process, select.POLLIN)
        anything.register(self._instance, select.POLLIN)
        while True:
            anything.poll()
            # events come in bursts: reading each alone would slow down the command
            if end.poll(_BATCH_MILLISECONDS):
                return
            self._drain()

    def _drain(self) -> None:
        """Move all events from the kernel's queue to `_events`."""
        for data in queued(self._instance):
            self._events.update(dict.fromkeys(split_events(data)))

    def reads(self) -> Reads:
        """Return the opened files and listed folders, by their paths as the command saw them."""
        opens = incomplete(self._problem) if self._problem else COMPLETE
        kinds: dict[bytes, str] = {}
        created: set[bytes] = set()
        for event in self._events:
            number, mask, _, _ = EVENT.unpack_from(event)
            if mask & IN_Q_OVERFLOW:
                opens = incomplete("overflow")
            folder = self._folders.get(number)
            if folder is None or mask & IN_IGNORED:
                continue
            name = event[EVENT.size :].rstrip(b"\0")
            path = folder.seen + b"/" + name if name else folder.seen
            if not mask & IN_OPEN:
                # a file opened before was there; otherwise, the command has made it
                if path not in kinds:
                    created.add(path)
            elif path not in created:
                kinds[path] = _kinds(mask, folder.tree)
        rows = [Read(os.fsdecode(path), letters) for path, letters in kinds.items()]
        return Reads.of(rows, opens, toolchain=NOT_RECORDED)

    def _add(self, trees: Iterable[WatchedTree]) -> None:
        try:
            for tree in trees:
                self._instance = _instance(os.getpid())
                self._add_tree(tree)
        except OSError as error:
            self._problem = watch_problem(error)

    def _add_tree(self, tree: WatchedTree) -> None:
        top, seen = os.fsencode(tree.path), os.fsencode(tree.seen)
        mask = IN_OPEN | IN_ONLYDIR | IN_DONT_FOLLOW
        if tree.writable:
            mask |= IN_CREATE | IN_MOVED_TO
        folders = tree.folders
        if folders is None:
            folders = folders_of(top, tree.skipped)
        self._folders[add_watch(self._instance, top, mask)] = _WatchedFolder(seen, tree)
        for path in folders:
            number = add_watch(self._instance, top + b"/" + path, mask)
            self._folders[number] = _WatchedFolder(seen + b"/" + path, tree)

    def _remove(self) -> None:
        if len(self._folders) > _MOST_REMOVED:
            _instance.cache_clear()
            os.close(self._instance)
            return
        for number in self._folders:
            remove_watch(self._instance, number)
        if self._folders:
            # each removal queues an event
            for _ in queued(self._instance):
                pass


def _kinds(mask: int, tree: WatchedTree) -> str:
    letter = "d" if mask & IN_ISDIR else "o"
    return f"*{letter}" if tree.shared else letter


@contextmanager
def watching(trees: Iterable[WatchedTree]) -> Iterator[DirectoryWatch]:
    """Watch directories inside this context; a process can be in one such context at a time.

    If a folder cannot be watched, the list of reads says so.
    """
    watch = DirectoryWatch()
    try:
        watch._add(trees)
        yield watch
    finally:
        watch._remove()


@lru_cache(maxsize=1)
def _instance(_process: int) -> int:
    """Return the descriptor of this process's inotify instance. Raises OSError.

    The kernel takes up to 20 ms to close an instance, so one serves all tasks of a worker.
    """
    return open_instance()


def folders_of(top: bytes, skipped: Collection[bytes]) -> list[bytes]:
    """Return the paths of all folders below a directory. Raises OSError."""
    with os.scandir(top) as entries:
        folders = [
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and entry.name not in skipped
        ]
    for path in folders:  # which grows
        with os.scandir(top + b"/" + path) as entries:
            folders += [
                path + b"/" + entry.name for entry in entries if entry.is_dir(follow_symlinks=False)
            ]
    return folders
