"""List what tasks open in their WORKDIRs, when several of them can run in one at the same time.

inotify does not report the process. An open counts for every task that runs in the WORKDIR at that
moment, and is marked as shared if these are several.

The list of a task that ran alone is complete. If other tasks ran in the WORKDIR, it is complete
for the sysroots only: a folder that one task creates is watched too late for what another opens in
it, and while prov captures the WORKDIR, events outside the sysroots are ignored, because they are
those of the capture. Sysroots are not captured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from prov.reads.growing import APPEARED, GrowingWatch, WatchedDirectory, joined
from prov.reads.inotify import IN_ISDIR, IN_OPEN
from prov.reads.reads import (
    COMPLETE,
    NOT_RECORDED,
    Read,
    Reads,
    incomplete,
    incomplete_outside_sysroots,
)
from prov.text import few

MOST_IDLE = 1 << 14
"""Number of watches from which those of WORKDIRs without a running task are removed."""
GREW = "folders appeared in the sysroots while the task ran"


@dataclass(slots=True)
class TaskOpens:
    """What one task opens in its WORKDIR."""

    workdir: bytes
    sysroots: frozenset[bytes]
    """Names of the sysroots in the WORKDIR."""
    problem: str = ""
    """Why events are missing, also in the sysroots; empty if none is."""
    beside: set[str] = field(default_factory=set)
    """Tasks that have run in the WORKDIR since this one began."""
    _uses: dict[tuple[bytes, str], bool] = field(default_factory=dict)
    """Path in the WORKDIR and kind of use -> whether the use may be another task's."""
    _created: set[bytes] = field(default_factory=set)
    """Paths outside the sysroots that appeared before they were opened."""
    _grew: bool = False
    """Whether folders have appeared in the sysroots."""

    def add(self, folder: bytes, name: bytes, mask: int, *, is_shared: bool) -> None:
        """Add an event that `GrowingWatch` reports."""
        path = joined(folder, name)
        if mask & IN_OPEN:
            if folder in self._created or path in self._created:
                return  # the task has made it
            use = path, "d" if mask & IN_ISDIR else "o"
            self._uses[use] = is_shared and self._uses.get(use, True)
        elif not mask & APPEARED:
            return
        elif not self.is_in_sysroots(path):
            self._created.add(path)
        elif mask & IN_ISDIR:
            self._grew = True

    def is_in_sysroots(self, path: bytes) -> bool:
        """Return whether a path in the WORKDIR is in a sysroot, or is one."""
        return path.partition(b"/")[0] in self.sysroots

    def forget_sysroots(self) -> None:
        """Forget all uses of the sysroots: until now, their content was being installed."""
        self._uses = {
            use: shared for use, shared in self._uses.items() if not self.is_in_sysroots(use[0])
        }
        self._grew = False

    def reads(self, *, is_listed_by_prov: bool = False, outside: bool = False) -> Reads:
        """Return the list of what the task read.

        `is_listed_by_prov` states whether prov also listed folders while the task ran, and
        `outside` whether the task read directories outside the WORKDIR.
        """
        rows = []
        for (path, kind), is_shared in self._uses.items():
            is_doubtful = is_shared or (is_listed_by_prov and kind == "d")
            place = os.fsdecode(joined(self.workdir, path))
            rows.append(Read(place, f"*{kind}" if is_doubtful else kind))
        return Reads.of(rows, self._opens(outside=outside), toolchain=NOT_RECORDED)

    def _opens(self, *, outside: bool) -> str:
        if self.problem:
            return incomplete(self.problem)
        if self._grew:
            return incomplete(GREW)
        if self.beside:
            names = few(sorted(self.beside))
            return incomplete_outside_sysroots(f"ran at the same time as {names}")
        if outside:
            return incomplete_outside_sysroots("sources outside WORKDIR are not watched")
        return COMPLETE


@dataclass(slots=True)
class _Workdir:
    directory: WatchedDirectory
    running: dict[str, TaskOpens] = field(default_factory=dict)
    captures: int = 0
    """Number of captures that are reading the WORKDIR."""


class WatchedWorkdirs:
    """The WORKDIRs of a build. No failure raises an error: the lists of reads state it."""

    def __init__(self, sysroots: Collection[str], skipped: re.Pattern[bytes]) -> None:
        """`sysroots` are names in each WORKDIR. `skipped` matches relative paths to leave out."""
        self._sysroots = frozenset(map(os.fsencode, sysroots))
        self._watch = GrowingWatch(self._hear, skipped)
        self._workdirs: dict[bytes, _Workdir] = {}
        """By path; those in which a task began last are at the end."""

    def __len__(self) -> int:
        """Return the number of watched folders."""
        return len(self._watch)

    @property
    def is_active(self) -> bool:
        """Whether a task runs, so that `drain` must be called several times a second.

        The kernel's queue holds `fs.inotify.max_queued_events`, by default 16,384 events.
        """
        return any(workdir.running for workdir in self._workdirs.values())

    def drain(self) -> None:
        """Read the events until now."""
        self._watch.drain()

    def begin(self, path: Path, task: str) -> None:
        """Note that a task begins in a WORKDIR; it waits until this returns."""
        self._change()
        name = os.fsencode(path)
        workdir = self._workdirs.pop(name, None) or _Workdir(WatchedDirectory(name))
        self._workdirs[name] = workdir
        if not workdir.running:
            self._add(workdir)
        opens = TaskOpens(name, self._sysroots, workdir.directory.problem, set(workdir.running))
        for other in workdir.running.values():
            other.beside.add(task)
        workdir.running[task] = opens

    def installed(self, path: Path, task: str) -> None:
        """Note that the sysroots of a task were installed; it waits until this returns."""
        self._change()
        workdir = self._workdirs.get(os.fsencode(path))
        opens = workdir.running.get(task) if workdir is not None else None
        if opens is not None:
            opens.forget_sysroots()

    def end(self, path: Path, task: str) -> TaskOpens | None:
        """Note that a task has ended, and return what it opened; None if its begin is unknown."""
        self._change()
        workdir = self._workdirs.get(os.fsencode(path))
        opens = workdir.running.pop(task, None) if workdir is not None else None
        if workdir is not None and opens is not None:
            opens.problem = opens.problem or workdir.directory.problem
        return opens

    def begin_capture(self, path: Path) -> None:
        """Ignore events outside the sysroots of a WORKDIR until `end_capture`."""
        workdir = self._workdirs.get(os.fsencode(path))
        if workdir is not None:
            self._change()
            workdir.captures += 1

    def end_capture(self, path: Path) -> None:
        """Note that a capture has ended."""
        workdir = self._workdirs.get(os.fsencode(path))
        if workdir is not None and workdir.captures:
            self._change()
            workdir.captures -= 1

    def _change(self) -> None:
        """Read the events of the tasks that run now, before this changes."""
        self._watch.drain()
        # the search for new folders has caused events itself
        self._watch.drain()
        self._watch.repeat()

    def _add(self, workdir: _Workdir) -> None:
        """Watch a WORKDIR in which no task runs, unless it is watched."""
        directory = workdir.directory
        if directory.is_too_large or (directory.is_watched and not directory.problem):
            return
        self._watch.remove(directory)
        self._remove_idle(MOST_IDLE, workdir)
        self._watch.add(directory)
        if directory.is_too_large:  # the watches of others may have used up the limit
            self._watch.remove(directory)
            self._remove_idle(0, workdir)
            self._watch.add(directory)
        if directory.is_too_large:
            # it leaves the limit to others, and is not tried again
            self._watch.remove(directory)
        self._change()

    def _remove_idle(self, most: int, needed: _Workdir) -> None:
        """Remove watches of WORKDIRs without a running task until at most `most` are left."""
        for name, workdir in list(self._workdirs.items()):
            if len(self._watch) <= most:
                return
            if not workdir.running and workdir is not needed:
                self._watch.remove(workdir.directory)
                del self._workdirs[name]

    def _hear(self, directory: WatchedDirectory, folder: bytes, name: bytes, mask: int) -> None:
        workdir = self._workdirs.get(directory.path)
        if workdir is None or not workdir.running:
            return
        is_shared = len(workdir.running) > 1
        for opens in workdir.running.values():
            if workdir.captures and not opens.is_in_sysroots(folder or name):
                continue
            opens.add(folder, name, mask, is_shared=is_shared)
