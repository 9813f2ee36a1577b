"""Prepare a WORKDIR for a task, and capture it afterwards.

A task starts from recorded trees, never from leftovers. Files in the WORKDIR that no task recorded
become a tagged commit of their own before anything is overwritten.
"""

from __future__ import annotations

import errno
import os
import re
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from prov.errors import BuildError, CaptureError, CheckoutError, UnreadableError
from prov.files import drop_default_acl, remove_tree, replace_file
from prov.recipes.graph import Node
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE, TEMP
from prov.records.ids import CommitId
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.refs import TAGS, OutsideRef, workdir_ref
from prov.records.run import Start, author, empty_start, write_workdir
from prov.store.objects import CONSTANT_IDENTITY, Commit
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.tasks.job import Job, Taken, Workspace
from prov.tasks.relocate import relocated
from prov.tasks.script import fresh_temp
from prov.tasks.taskhash import LocalFile
from prov.worktree.attributes import EMPTY, FileNode, Pair, at_path
from prov.worktree.checkout import checkout
from prov.worktree.exclude import DEFAULT, Exclude
from prov.worktree.merge import Merged, Owned, three_way, union
from prov.worktree.placer import PrivatePlacer
from prov.worktree.snapshot import Snapshot, capture, remember

ASIDE = "aside"
"""The folder in the build directory for files that could not be captured or removed."""
ATTEMPTS = 20
LONGEST_ASIDE = 120
PASSING = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EROFS),
    *(errno.ENOENT, errno.EINTR, errno.EAGAIN),
)
"""Errors not caused by the contents of a WORKDIR."""


@dataclass(slots=True)
class _Fresh(PrivatePlacer):
    """Places private files with the current time as their mtime."""

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        PrivatePlacer.place(self, node._replace(mtime=time.time_ns()), path, folder)


def clear_links(workdir: Path) -> None:
    """Remove symlinks in place of prov's own folders in a WORKDIR, which prov writes to."""
    for name in (TEMP, SYSROOT, SYSROOT_NATIVE):
        if (workdir / name).is_symlink():
            (workdir / name).unlink()


@lru_cache(maxsize=16)
def capture_rules(text: str) -> tuple[Exclude, tuple[str, ...]]:
    """Parse capture settings: lines of `exclude PATTERN` and `xattr NAME`."""
    rows = [line.partition(" ") for line in text.split("\n") if line]
    patterns = [value for what, _, value in rows if what == "exclude"]
    return Exclude([*DEFAULT, *patterns]), tuple(
        value for what, _, value in rows if what == "xattr"
    )


@dataclass(slots=True)
class Workdir:
    """The WORKDIR of one chain of a recipe's tasks."""

    workspace: Workspace
    node: Node
    chain: str
    writer: ObjectWriter
    rules: str
    """The settings in prov.toml for captures: excluded paths and extended attributes."""
    notes: list[str] = field(default_factory=list)
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.workspace.workdir(self.node, self.chain)

    @property
    def ref(self) -> str:
        return str(
            workdir_ref(self.node.arch, self.node.recipe.name, self.chain, self.workspace.alias)
        )

    @property
    def memory(self) -> Path:
        name = f"{self.node.arch}%{self.node.recipe.name}%{self.chain}"
        return (
            self.workspace.store.cache
            / "workdirs"
            / (f"{self.workspace.alias}%{name}" if self.workspace.alias else name)
        )

    @property
    def _running(self) -> Path:
        """The file that names the running task, to identify leftovers of a killed task."""
        return self.memory.with_name(self.memory.name + ".running")

    @property
    def trace(self) -> Path:
        """The file for the trace of the running task; the next trace replaces that of a kill."""
        return self.memory.with_name(self.memory.name + ".trace")

    def capture(self) -> Snapshot:
        exclude, xattrs = capture_rules(self.rules)
        return capture(
            self.workspace.store,
            self.path,
            self.writer,
            memory=self.memory,
            exclude=exclude,
            xattrs=xattrs,
        )

    def settle(self) -> Start:
        """Commit files in the WORKDIR that no task recorded; return the WORKDIR's commit.

        Files that cannot be captured or removed are moved away, so that they never prevent a task
        from running.
        """
        self._clear_way()
        for _ in range(ATTEMPTS):
            try:
                self._clear_temp()
                return self._settle()
            except UnreadableError as error:
                below = error.path.removeprefix(os.fsencode(self.path) + b"/")
                self._set_aside(os.fsdecode(below.partition(b"/")[0]), str(error))
            except CaptureError as error:
                cause = error.__cause__
                if not isinstance(cause, OSError) or cause.errno in PASSING:
                    raise
                self._set_aside("", str(error))
        return self._settle()

    def _clear_temp(self) -> None:
        """Empty the folder for temporary files. Raises UnreadableError if this fails."""
        temp = self.path / TEMP
        try:
            if self.path.is_dir():
                fresh_temp(temp, self.node.task.name)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise UnreadableError(
                f"cannot empty {temp}: {error.strerror}", TEMP.encode()
            ) from error

    def _clear_way(self) -> None:
        """Move away files in place of the WORKDIR or of a folder above it."""
        folders = [
            path
            for path in (self.path, *self.path.parents)
            if path.is_relative_to(self.workspace.work)
        ]
        for path in reversed(folders):
            if os.path.lexists(path) and not path.is_dir():
                self._move(path, "it is not a folder")

    def _set_aside(self, name: str, why: str) -> None:
        """Move away one entry of the WORKDIR, or the complete WORKDIR."""
        entry = self.path / name
        try:
            self._move(entry, why)
        except OSError:  # a folder of a different user cannot be moved, but its parent can
            self._move(self.path, why)

    def _move(self, path: Path, why: str) -> None:
        top = self.workspace.work.parent / ASIDE
        top.mkdir(mode=0o700, exist_ok=True)
        folder = top / time.strftime("%Y-%m-%dT%H-%M-%S")
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.iterdir()) + 1
        target = folder / f"{number}-{path.name}"[:LONGEST_ASIDE]
        path.rename(target)
        self.notes.append(f"{path} was moved to {target}: {why}; `prov gc` deletes it")

    def _settle(self) -> Start:
        commit = self.workspace.store.refs.get(self.ref)
        if not self.path.is_dir():
            return empty_start(self.writer)
        snapshot = self.capture()
        top = snapshot.folders[b""]
        if commit is not None and snapshot.pair == Records(self.workspace.store).workdir(commit):
            self._running.unlink(missing_ok=True)
            return Start(CommitId(commit), snapshot.pair)
        # an empty WORKDIR (after rm_work) and a scratch WORKDIR have nothing to keep
        if self.workspace.alias or top.is_empty:
            return Start(empty_start(self.writer).commit, snapshot.pair)
        return self._keep(snapshot, CommitId(commit) if commit else None)

    def _keep(self, snapshot: Snapshot, commit: CommitId | None) -> Start:
        interrupted = self._interrupted()
        message = (
            f"left by {interrupted}, interrupted" if interrupted else "changed outside any task"
        )
        before = commit or empty_start(self.writer).commit
        kept = write_workdir(self.writer, snapshot.pair, before, author(time.time()), message)
        self.writer.finish()
        refs = self.workspace.store.refs
        first = OutsideRef(self.node.arch, self.node.recipe.name, self.chain, 1)
        ref = replace(first, number=refs.last_number(first.prefix) + 1)
        refs.update(RefUpdate(str(ref), kept, None), RefUpdate(self.ref, kept))
        remember(snapshot, self.memory)
        if not interrupted:
            tag = str(ref).removeprefix(TAGS)
            self.notes.append(
                f"{self.path} was changed outside any task; the changes are kept as tag {tag}"
            )
        return Start(kept, snapshot.pair)

    def _interrupted(self) -> str:
        """Return the task killed here, or "". The file that names it may be incomplete."""
        try:
            name = self._running.read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        return name if re.fullmatch(r"[!-~]+:[!-~]+", name) else "a task"

    def start(self, job: Job) -> Start:
        """Return a task's start: the WORKDIRs of the tasks it comes after, with `from` outputs."""
        records = Records(self.workspace.store)
        if job.start is not None:
            return Start(job.start, records.workdir(job.start))
        starts = [Start(commit, records.workdir(commit)) for commit in job.after]
        outputs = [Owned(taken.key, self._taken(job, taken)) for taken in job.from_]
        if not starts and not outputs:
            return empty_start(self.writer)
        if len(starts) == 1 and not outputs:
            return starts[0]
        pair = self._joined(starts)
        if outputs:
            merged = self._checked(union(self.writer, outputs))
            workdir = Owned(", ".join(self.node.after), pair)
            pair = (
                self._checked(union(self.writer, [workdir, Owned("an output", merged)]))
                if starts
                else merged
            )
        names = ", ".join([*self.node.after, *self.node.from_])
        parents = tuple(start.commit for start in starts)
        commit = Commit(pair.tree, parents, CONSTANT_IDENTITY, f"start from {names}\n")
        return Start(CommitId(self.writer.add_commit(commit)), pair)

    def _taken(self, job: Job, taken: Taken) -> Pair:
        """Return an output with tokens replaced by this WORKDIR's paths."""
        return relocated(self.writer, read_pair(self.writer, taken.output), job.task_paths.places())

    def _joined(self, starts: list[Start]) -> Pair:
        if not starts:
            return EMPTY
        joined = Owned(self.node.after[0], starts[0].pair)
        for other, name in zip(starts[1:], self.node.after[1:], strict=True):
            base = self._common_ancestor(starts[0].commit, other.commit)
            merged = self._checked(three_way(self.writer, base, joined, Owned(name, other.pair)))
            joined = Owned(joined.owner, merged)
        return joined.pair

    def _common_ancestor(self, one: CommitId, other: CommitId) -> Pair:
        line = set(self._first_parents(one))
        for commit in self._first_parents(other):
            if commit in line:
                return Records(self.workspace.store).workdir(commit)
        return EMPTY

    def _first_parents(self, commit: CommitId) -> list[CommitId]:
        line = [commit]
        while parents := self.writer.commit(line[-1]).parents:
            line.append(CommitId(parents[0]))
        return line

    def _checked(self, merged: Merged) -> Pair:
        if merged.conflicts:
            path, first, second = merged.conflicts[0]
            raise BuildError(
                f"{self.node.key}: cannot start: {first} and {second} both wrote"
                f" {os.fsdecode(path)}",
                hint="run one of the tasks `after` the other, or write to different paths",
            )
        return merged.pair

    def put_in_place(self, wanted: Pair, *, now: Pair) -> None:
        """Change the WORKDIR's contents from `now` to `wanted`."""
        self._running.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._running, f"{self.node.key}\n".encode(), durable=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        drop_default_acl(self.path.parent)
        kept: list[bytes] = []
        try:
            if drop_default_acl(self.path):  # existing files have inherited it
                checkout(self.writer, self.path, EMPTY, now=now, kept=kept)
                now = EMPTY
            checkout(self.writer, self.path, wanted, now=now, kept=kept)
        except CheckoutError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno in PASSING or not self.path.exists():
                raise
            self._set_aside("", str(cause))  # something in it cannot be removed
            checkout(self.writer, self.path, wanted)
        for path in kept:
            self._set_aside_excluded(os.fsdecode(path))
        clear_links(self.path)

    def _set_aside_excluded(self, name: str) -> None:
        """Move away the rest of a folder that the task does not start with: excluded files."""
        parent = (self.path / name).parent
        state = parent.stat()
        self._set_aside(name, "it contains excluded files")
        os.utime(parent, ns=(state.st_atime_ns, state.st_mtime_ns))

    def put_over(self, job: Job, now: Pair) -> None:
        """Place a task's `from` outputs over the contents of the WORKDIR, for incremental builds.

        New and changed files have the current time as their mtime, so make sees that they are
        newer.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for taken in job.from_:
            for path in taken.paths:
                wanted = at_path(self.writer, self._taken(job, taken), path)
                current = at_path(self.writer, now, path)
                if wanted is not None:
                    before = current.pair if current is not None and current.is_directory else EMPTY
                    target = self.path / os.fsdecode(path)
                    checkout(
                        self.writer, target, wanted.pair, now=before, placer=_Fresh(self.writer)
                    )

    def place_inputs(self, job: Job) -> None:
        """Copy sources and patches from the store, where they were hashed, to the WORKDIR."""
        for folder, files in (("sources", job.own.sources), ("patches", job.own.patches)):
            target = self.path / folder
            if files and os.path.lexists(target):
                self._check_inputs(target, {file.name for file in files})
                remove_tree(target)
            for file in files:
                target.mkdir(exist_ok=True)
                self._place(target, file)

    def _check_inputs(self, target: Path, names: set[str]) -> None:
        """Raise BuildError if the folder for inputs contains files from a task or an archive."""
        others = [target.name] if target.is_symlink() or not target.is_dir() else os.listdir(target)
        strange = sorted(set(others) - names)
        if strange:
            raise BuildError(
                f"{self.node.key}: cannot copy {target.name} to {target}: an earlier task wrote"
                f" {strange[0]} there",
                hint=f"use a folder other than {target.name} in that task",
            )

    def _place(self, target: Path, file: LocalFile) -> None:
        if file.node.is_directory:
            checkout(self.writer, target / file.name, file.node.pair)
            return
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            PrivatePlacer(self.writer).place(file.node, os.fsencode(file.name), fd)
        finally:
            os.close(fd)

    def done(self, snapshot: Snapshot) -> None:
        """Record that the result is durable and that the WORKDIR matches its commit."""
        self._running.unlink(missing_ok=True)
        remember(snapshot, self.memory)
