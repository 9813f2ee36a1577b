"""Watch directories in which folders appear, while several commands run in them.

`prov.reads.watch` watches the folders that exist when its command starts. Here each folder that
appears is watched too, so that it need not be searched for before the next command. The watches
of a directory stay until `remove`, or until the directory is deleted.

A folder that appears is watched a moment later, when its event is read. Files that a process opens
in it before that are not reported.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from prov.reads.inotify import (
    EVENT,
    IN_CREATE,
    IN_DONT_FOLLOW,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVED_FROM,
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

APPEARED: Final = IN_CREATE | IN_MOVED_TO
_MASK: Final = IN_OPEN | APPEARED | IN_MOVED_FROM | IN_ONLYDIR | IN_DONT_FOLLOW


@dataclass(slots=True, eq=False)
class WatchedDirectory:
    """A directory whose folders are watched."""

    path: bytes
    problem: str = ""
    """Why events are missing; empty if none is."""
    is_too_large: bool = False
    """Whether the directory has more folders than the kernel's limit allowed."""
    _numbers: dict[bytes, int] = field(default_factory=dict)
    """Folder, relative to the directory -> its watch; empty name for the directory."""

    @property
    def is_watched(self) -> bool:
        """Whether the directory itself is watched: it existed, and was not deleted."""
        return b"" in self._numbers

    def __len__(self) -> int:
        """Return the number of watches."""
        return len(self._numbers)


Hear = Callable[[WatchedDirectory, bytes, bytes, int], None]
"""Is called with an event: a directory, the path of a folder in it, a name in the folder, and the
kinds of event. The name is empty for an event of the folder itself.
"""


@dataclass(slots=True)
class GrowingWatch:
    """Watches directories, and reports each event to `hear`.

    Equal events are reported once, until `repeat`.
    """

    hear: Hear
    skipped: re.Pattern[bytes]
    """Matches the paths in a directory, relative to it, that are neither watched nor reported."""
    _instance: int = -1
    _folders: dict[int, tuple[WatchedDirectory, bytes]] = field(default_factory=dict)
    """Watch -> directory and folder."""
    _reported: set[bytes] = field(default_factory=set)
    _problem: str = ""
    """Why no directory can be watched."""

    def __len__(self) -> int:
        """Return the number of watches."""
        return len(self._folders)

    def add(self, directory: WatchedDirectory) -> None:
        """Watch all folders of a directory; note in it if that fails.

        The search for folders causes events itself: drain them before a command starts.
        """
        directory.problem, directory.is_too_large = self._problem, False
        try:
            if self._instance < 0:
                self._instance = open_instance()
        except OSError as error:
            directory.problem = self._problem = watch_problem(error)
            return
        self._add_folders(directory, b"", 0)

    def remove(self, directory: WatchedDirectory) -> None:
        """Remove the watches of a directory."""
        for folder in list(directory._numbers):
            self._forget(directory, folder)

    def repeat(self) -> None:
        """Report each event again."""
        self._reported.clear()

    def drain(self) -> None:
        """Report the events in the kernel's queue."""
        if self._instance < 0:
            return
        for data in queued(self._instance):
            for event in split_events(data):
                if event not in self._reported:
                    self._report(event)

    def _report(self, event: bytes) -> None:
        number, mask, _, _ = EVENT.unpack_from(event)
        if mask & IN_Q_OVERFLOW:
            self._lose_all()
            return
        directory, folder = self._folders.get(number, (None, b""))
        if directory is None:
            return
        if mask & IN_IGNORED:  # the folder was deleted
            del self._folders[number]
            if directory._numbers.get(folder) == number:
                del directory._numbers[folder]
            return
        name = event[EVENT.size :].rstrip(b"\0")
        path = joined(folder, name)
        if self.skipped.fullmatch(path):
            return
        if mask & IN_ISDIR and not mask & IN_OPEN:
            # such an event counts each time: a folder can be deleted and created again
            self._move(directory, path, mask)
        else:
            self._reported.add(event)
        self.hear(directory, folder, name, mask)

    def _move(self, directory: WatchedDirectory, path: bytes, mask: int) -> None:
        if mask & IN_MOVED_FROM:
            below = path + b"/"
            moved = [own for own in directory._numbers if own == path or own.startswith(below)]
            for folder in moved:
                self._forget(directory, folder)
        elif mask & APPEARED:
            self._add_folders(directory, path, mask)

    def _add_folders(self, directory: WatchedDirectory, top: bytes, mask: int) -> None:
        """Watch a folder and all folders in it.

        With a mask, the folders in it are reported with it: they appeared together with `top`.
        """
        pending = [top]
        while pending and not directory.is_too_large:
            folder = pending.pop()
            try:
                inside = self._add_folder(directory, folder)
            except OSError as error:
                directory.problem = directory.problem or watch_problem(error)
                directory.is_too_large = error.errno == errno.ENOSPC
                continue
            pending += (joined(folder, name) for name in inside)
            for name in inside if mask else ():
                self.hear(directory, folder, name, mask)

    def _add_folder(self, directory: WatchedDirectory, folder: bytes) -> list[bytes]:
        """Watch a folder, and return the names of the folders in it. Raises OSError."""
        path = joined(directory.path, folder)
        try:
            # before the search, so that a folder which appears now is found or reported
            number = add_watch(self._instance, path, _MASK)
            self._folders[number] = (directory, folder)
            directory._numbers[folder] = number
            with os.scandir(path) as entries:
                return [
                    entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                    and not self.skipped.fullmatch(joined(folder, entry.name))
                ]
        except (FileNotFoundError, NotADirectoryError):  # it was deleted in the meantime
            return []

    def _forget(self, directory: WatchedDirectory, folder: bytes) -> None:
        number = directory._numbers.pop(folder)
        self._folders.pop(number, None)
        remove_watch(self._instance, number)

    def _lose_all(self) -> None:
        """Remove all watches: folders may have appeared that were not reported."""
        for directory in {id(own): own for own, _ in self._folders.values()}.values():
            directory.problem = "overflow"
            self.remove(directory)


def joined(folder: bytes, name: bytes) -> bytes:
    """Return the path of a name in a folder; either can be empty."""
    return folder + b"/" + name if folder and name else folder or name
