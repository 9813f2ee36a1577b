"""Record what a task reads: watch its directories, or trace it with strace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from prov.processes import exit_status
from prov.reads.mounts import Mounts
from prov.reads.namespace import Namespace
from prov.reads.reads import COMPLETE, NOT_RECORDED, Reads, incomplete
from prov.reads.recorded import Omitted, Recorded
from prov.reads.strace import Strace, wait_for_end
from prov.reads.trace import Started, read_trace
from prov.reads.watch import WatchedTree, watching
from prov.recipes.recipe import NEVER_RECORDED
from prov.store.objects import Oid
from prov.tasks.job import ComposedSysroot
from prov.tasks.sandbox import TaskPaths
from prov.worktree.attributes import Pair, TreeReader, walk
from prov.worktree.exclude import Exclude

UNRECORDED = Reads((), incomplete("no sandbox"), NOT_RECORDED, NOT_RECORDED)
"""The list of a task without a sandbox."""
_SKIPPED = frozenset(map(os.fsencode, NEVER_RECORDED))
_KERNEL = (b"/dev", b"/proc")
"""Mounts of the kernel, whose files are not part of the toolchain."""
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
    """The task's own directories."""
    toolchain: Sequence[WatchedTree]
    """The directories of host tools."""

    def run(self, start: StartCommand, command: Sequence[str], directory: str) -> tuple[int, Reads]:
        """Run a command line, as `Reading.run` does."""
        with watching(self.trees, self.toolchain) as watch, start(command) as process:
            watch.follow(process.pid)
            code = exit_status(process)
        reads = watch.reads()
        others = _unwatched(command, [*self.trees, *self.toolchain])
        if others and reads.toolchain == COMPLETE:
            reason = f"{os.fsdecode(others[0])} is not watched"
            reads = replace(reads, toolchain=incomplete(reason))
        return code, reads


def _unwatched(command: Sequence[str], trees: Iterable[WatchedTree]) -> list[bytes]:
    """Return the paths in a sandbox at which unwatched files of the host are mounted."""
    tops = {os.fsencode(tree.path) for tree in trees}
    return [
        path
        for path, source in Mounts.of(command).sources.items()
        if source and path not in _KERNEL and not _is_in(source, tops)
    ]


def _is_in(path: bytes, folders: Container[bytes]) -> bool:
    return path in folders or (path != b"/" and _is_in(os.path.dirname(path), folders))


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


def watch_of(
    objects: TreeReader, task_paths: TaskPaths, sysroots: Mapping[str, ComposedSysroot]
) -> Watching:
    """Return a watch on all directories that a task in a sandbox can use.

    `sysroots` are by their folders in the WORKDIR.
    """
    own = watched_trees(task_paths, sysroots)
    return Watching([*own], [*toolchain_trees(objects, task_paths)])


def watched_trees(
    task_paths: TaskPaths, sysroots: Mapping[str, ComposedSysroot]
) -> Iterator[WatchedTree]:
    """Yield the WORKDIR, the sysroots and the direct packages of a task in a sandbox.

    `sysroots` are by their folders in the WORKDIR.
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


def toolchain_trees(objects: TreeReader, task_paths: TaskPaths) -> Iterator[WatchedTree]:
    """Yield the host tools of a task in a sandbox, and the links to them."""
    root = task_paths.root
    assert root is not None
    folders = _toolchain_folders(objects, bytes.fromhex(root.name))
    yield WatchedTree(root, "", folders, shared=True)
    yield WatchedTree(task_paths.links, task_paths.seen_links, (), shared=True)


def _toolchain_folders(objects: TreeReader, tree: Oid) -> Iterator[bytes]:
    """Yield the paths of the folders in a toolchain.

    They are read from its tree, because listing them on disk would be a use by all running tasks.
    """
    for path, node in walk(objects, Pair(tree, None)):
        if node.is_directory:
            yield path
