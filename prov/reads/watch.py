"""Watch directories for the files that a command opens, by the kernel's inotify (inotify(7)).

inotify reports opened and executed files and listed folders, also through bind mounts, and needs no
privileges. It reports the path after symbolic links. It does not report failed lookups, uses of
`stat`, links on the way, or the process: if other processes open files in the directories at the
same time, these files are listed too.

A watch covers the folders that exist when the command starts. Files that the command itself creates
are not its input, and are not listed.

The directories of a toolchain are used by all commands. Their watches stay until the process ends,
and the events between two commands are dropped. Each process has watches of its own, so that it can
take the events of its command's time from its own queue. That costs 0.8 µs for each open and each
process that runs tasks (docs/performance.md).
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
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

_BATCH_MILLISECONDS = 40
"""How long events may wait in the kernel's queue.

The queue holds `fs.inotify.max_queued_events` events, by default 16,384: 400,000 in a second. To
empty it costs 0.1 ms.
"""
_MOST_REMOVED = 4096
"""The number of watches from which closing the instance is faster than removing them."""


@dataclass(frozen=True, slots=True)
class WatchedTree:
    """A directory to watch, with the folders in it."""

    path: Path
    seen: str
    """Its path as the command sees it."""
    folders: Iterable[bytes] | None = None
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


_Folders = dict[int, _WatchedFolder]
"""The folder of each watch."""


@dataclass(slots=True)
class _Inotify:
    """The inotify instance of a process."""

    number: int
    """The descriptor."""
    toolchains: dict[tuple[Path, int, int], _Folders] = field(default_factory=dict)
    """The watches that stay, by path, inode number and ctime (nanoseconds) of the directory."""

    def close(self) -> None:
        """Close the instance, which removes all watches; the process gets a new one."""
        _process_inotify.cache_clear()
        os.close(self.number)


@dataclass(slots=True)
class DirectoryWatch:
    """The watched directories of one command, and the events in them."""

    _inotify: _Inotify | None = None
    _own: _Folders = field(default_factory=dict)
    """The watches that end with the command."""
    _toolchain: _Folders = field(default_factory=dict)
    """The watches that stay."""
    _events: dict[bytes, None] = field(default_factory=dict)
    """Each event that the kernel reported, once, in the order of the first reports."""
    _opens: str = COMPLETE
    """Whether all opens in the command's own directories are reported."""
    _toolchain_opens: str = NOT_RECORDED
    """Whether all opens in the toolchain's directories are reported."""

    def follow(self, pid: int) -> None:
        """Collect events until a child process ends, without reaping it."""
        if self._inotify is None:
            return
        instance = self._inotify.number
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            self._miss(f"cannot follow the command: {error.strerror}")
            return
        try:
            self._follow(instance, process)
        finally:
            os.close(process)
        # the kernel queues an event before the call that causes it returns
        self._drain(instance)

    def _follow(self, instance: int, process: int) -> None:
        anything, end = select.poll(), select.poll()
        for poll in (anything, end):
            poll.register(process, select.POLLIN)
        anything.register(instance, select.POLLIN)
        while True:
            anything.poll()
            # events come in bursts: reading each alone would slow down the command
            if end.poll(_BATCH_MILLISECONDS):
                return
            self._drain(instance)

    def _drain(self, instance: int) -> None:
        """Move all events from the kernel's queue to `_events`."""
        for data in queued(instance):
            self._events.update(dict.fromkeys(split_events(data)))

    def _miss(self, why: str) -> None:
        """Note that any open may be missing."""
        self._opens = incomplete(why)
        if self._toolchain_opens != NOT_RECORDED:
            self._toolchain_opens = incomplete(why)

    def reads(self) -> Reads:
        """Return the opened files and listed folders, by their paths as the command saw them."""
        folders = self._own | self._toolchain
        kinds: dict[bytes, str] = {}
        created: set[bytes] = set()
        for event in self._events:
            number, mask, _, _ = EVENT.unpack_from(event)
            if mask & IN_Q_OVERFLOW:
                self._miss("overflow")
            folder = folders.get(number)
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
        return Reads.of(rows, self._opens, toolchain=self._toolchain_opens)

    def _add(self, trees: Sequence[WatchedTree], toolchain: Sequence[WatchedTree]) -> None:
        # the command's own directories first: there may be too few watches for the toolchain
        self._opens = _completeness(partial(self._add_own, trees))
        if toolchain:
            self._toolchain_opens = _completeness(partial(self._add_toolchain, toolchain))
        if self._inotify is not None:
            _drop_events(self._inotify.number)

    def _add_own(self, trees: Iterable[WatchedTree]) -> None:
        inotify = self._inotify = _process_inotify(os.getpid())
        try:
            _watch(inotify.number, trees, self._own)
        except OSError as error:
            if error.errno != errno.ENOSPC or not inotify.toolchains:
                raise
            # their lists matter more than the toolchain's
            inotify.close()
            self._inotify = None
            self._own.clear()
            self._add_own(trees)

    def _add_toolchain(self, trees: Iterable[WatchedTree]) -> None:
        inotify = self._inotify = _process_inotify(os.getpid())
        for tree in trees:
            # a replaced directory has no watches; it can have the old one's inode number
            state = tree.path.stat()
            key = tree.path, state.st_ino, state.st_ctime_ns
            if key not in inotify.toolchains:
                inotify.toolchains[key] = _watch_all(inotify.number, tree)
            self._toolchain |= inotify.toolchains[key]

    def _remove(self) -> None:
        if self._inotify is None:
            return
        if len(self._own) > _MOST_REMOVED:
            self._inotify.close()
        elif self._own:
            _remove_watches(self._inotify.number, self._own)


def _kinds(mask: int, tree: WatchedTree) -> str:
    letter = "d" if mask & IN_ISDIR else "o"
    return f"*{letter}" if tree.shared else letter


@contextmanager
def watching(
    trees: Sequence[WatchedTree], toolchain: Sequence[WatchedTree] = ()
) -> Iterator[DirectoryWatch]:
    """Watch directories inside this context; a process can be in one such context at a time.

    The watches of the toolchain stay until the process ends. If a folder cannot be watched, the
    list of reads says so.
    """
    watch = DirectoryWatch()
    try:
        watch._add(trees, toolchain)
        yield watch
    finally:
        watch._remove()


@lru_cache(maxsize=1)
def _process_inotify(_process: int) -> _Inotify:
    """Return the inotify instance of this process. Raises OSError.

    The kernel takes up to 20 ms to close an instance, so one serves all tasks of a worker.
    """
    return _Inotify(open_instance())


def _completeness(add: Callable[[], None]) -> str:
    """Add watches; return whether all opens in their folders will be reported."""
    try:
        add()
    except OSError as error:
        return incomplete(watch_problem(error))
    return COMPLETE


def _drop_events(instance: int) -> None:
    for _ in queued(instance):
        pass


def _watch_all(instance: int, tree: WatchedTree) -> _Folders:
    """Watch all folders of a directory, or none. Raises OSError."""
    folders: _Folders = {}
    try:
        _watch(instance, [tree], folders)
    except OSError:
        _remove_watches(instance, folders)
        raise
    return folders


def _watch(instance: int, trees: Iterable[WatchedTree], watched: _Folders) -> None:
    """Watch all folders of directories, and add them to `watched`. Raises OSError."""
    for tree in trees:
        top, seen = os.fsencode(tree.path), os.fsencode(tree.seen)
        mask = IN_OPEN | IN_ONLYDIR | IN_DONT_FOLLOW
        if tree.writable:
            mask |= IN_CREATE | IN_MOVED_TO
        folders = tree.folders
        if folders is None:
            folders = folders_of(top, tree.skipped)
        watched[add_watch(instance, top, mask)] = _WatchedFolder(seen, tree)
        for path in folders:
            number = add_watch(instance, top + b"/" + path, mask)
            watched[number] = _WatchedFolder(seen + b"/" + path, tree)


def _remove_watches(instance: int, numbers: Iterable[int]) -> None:
    for number in numbers:
        remove_watch(instance, number)
    _drop_events(instance)  # each removal queues one


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
