"""Record what a task reads: watch its directories, or trace it with strace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prov.processes import exit_status
from prov.reads.mounts import Mounts
from prov.reads.namespace import Namespace
from prov.reads.reads import NOT_RECORDED, Reads, incomplete
from prov.reads.recorded import Omitted, Recorded
from prov.reads.strace import Strace, wait_for_end
from prov.reads.trace import Started, read_trace
from prov.reads.watch import WatchedTree, watching
from prov.recipes.recipe import NEVER_RECORDED
from prov.tasks.job import ComposedSysroot
from prov.tasks.sandbox import TaskPaths
from prov.worktree.attributes import Pair, TreeReader
from prov.worktree.exclude import Exclude

UNRECORDED = Reads((), incomplete("no sandbox"), NOT_RECORDED, NOT_RECORDED)
"""The list of a task without a sandbox."""
_SKIPPED = frozenset(map(os.fsencode, NEVER_RECORDED))
StartCommand = Callable[[Sequence[str]], subprocess.Popen[bytes]]
"""Starts a command line."""


class Reading(Protocol):
    """Records what a command reads."""

    def run(self, start: StartCommand, command: Sequence[str], directory: str) -> tuple[int, Reads]:
        """Run a command line; return its `exit_status`, and what it read.

        `directory` is the current folder of the command, as the command sees it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unread:
    """Records nothing, since a task without a sandbox can read any file of the machine."""

    def run(self, start: StartCommand, command: Sequence[str], directory: str) -> tuple[int, Reads]:
        """Run a command line, as `Reading.run` does."""
        with start(command) as process:
            return exit_status(process), UNRECORDED


@dataclass(frozen=True, slots=True)
class Watching:
    """Lists the files that a command opens in some directories."""

    trees: Sequence[WatchedTree]

    def run(self, start: StartCommand, command: Sequence[str], directory: str) -> tuple[int, Reads]:
        """Run a command line, as `Reading.run` does."""
        with watching(self.trees) as watch, start(command) as process:
            watch.follow(process.pid)
            code = exit_status(process)
        return code, watch.reads()


@dataclass(frozen=True, slots=True)
class Tracing:
    """Lists all files that a command in a sandbox uses, or looks for in vain."""

    strace: Strace
    output: Path
    """The temporary file for the trace."""
    objects: TreeReader
    capture: Callable[[], Pair]
    """Records the WORKDIR."""
    rules: Exclude
    """Matches the paths in the WORKDIR that are not recorded."""
    seen_workdir: str
    """The path of the WORKDIR as the command sees it."""

    def run(self, start: StartCommand, command: Sequence[str], directory: str) -> tuple[int, Reads]:
        """Run a command line, as `Reading.run` does."""
        files = Recorded(
            self.objects,
            os.fsencode(self.seen_workdir),
            # the folders for outputs and the copied sources are in no recorded tree
            self.capture(),
            Omitted(self.rules),
            Mounts.of(command),
        )
        folder = Namespace(files).find(b"/", os.fsencode(directory))
        started = Started(folder.path, os.fsencode(command[0]))
        self.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with start(self.strace.wrap(command, self.output)) as process:
                code = exit_status(process)
            return code, _reads(self.output, files, started)
        finally:
            self.output.unlink(missing_ok=True)


def _reads(output: Path, files: Recorded, started: Started) -> Reads:
    try:
        ended = wait_for_end(output)
        return read_trace(output, files, started, ended=ended).reads()
    except OSError as error:  # strace could not write it
        reason = incomplete(f"cannot read the trace: {error.strerror}")
        return Reads((), reason, reason)


def watched_trees(
    task_paths: TaskPaths, sysroots: Mapping[str, ComposedSysroot]
) -> Iterator[WatchedTree]:
    """Yield the WORKDIR, the sysroots and the direct packages of a task in a sandbox.

    `sysroots` are by their folders in the WORKDIR. The toolchain is not among the directories: all
    tasks use it at the same time, and it has thousands of folders.
    """
    workdir = task_paths.workdir
    yield WatchedTree(workdir, task_paths.seen_workdir, skipped=_SKIPPED, writable=True)
    for folder, composed in sysroots.items():
        seen = task_paths.seen_sysroot(folder)
        if (workdir / folder).is_dir():
            yield WatchedTree(workdir / folder, seen, composed.folders)
    direct = task_paths.seen_direct()
    for recipe, path in task_paths.direct:
        yield WatchedTree(path, direct[recipe], shared=True)
