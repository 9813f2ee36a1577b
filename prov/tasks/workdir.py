"""A WORKDIR before and after a task: kept, put in place, captured.

A task starts from recorded trees, never from leftovers. What is found in the WORKDIR and was put
there by nobody's task becomes a commit of its own, tagged, before anything is overwritten.
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
"""In the build directory: what was found in WORKDIRs and could neither be captured nor removed."""
ATTEMPTS = 20
LONGEST_ASIDE = 120
PASSING = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EROFS),
    *(errno.ENOENT, errno.EINTR, errno.EAGAIN),
)
"""Failures that are not due to what is in a WORKDIR."""


@dataclass(slots=True)
class _Fresh(PrivatePlacer):
    """Places private files that were written just now."""

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        PrivatePlacer.place(self, node._replace(mtime=time.time_ns()), path, folder)


def clear_links(workdir: Path) -> None:
    """Remove links where prov has folders of its own in a WORKDIR: who writes into these must not
    be led elsewhere.
    """
    for name in (TEMP, SYSROOT, SYSROOT_NATIVE):
        if (workdir / name).is_symlink():
            (workdir / name).unlink()


@lru_cache(maxsize=16)
def capture_rules(text: str) -> tuple[Exclude, tuple[str, ...]]:
    """Return what the words of prov.toml mean: a line each of `exclude PATTERN` and `xattr
    NAME`.
    """
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
    """What its captures leave out, and which extended attributes they have: prov.toml's words."""
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.workspace.workdir(self.node, self.chain)

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
        """The file that names the task that is running here, so that what a killed one left is
        known as such.
        """
        return self.memory.with_name(self.memory.name + ".running")

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
        """Find out what is in the WORKDIR and keep what no task put there; return it as a commit.

        What can't be captured or removed, whatever it is, is moved aside: it must not keep the next
        task from running.
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
        """Empty the folder for temporary files. Raises UnreadableError if that can't be done."""
        temp = self.path / TEMP
        try:
            if self.path.is_dir():
                fresh_temp(temp, self.node.task.name)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise UnreadableError(
                f"{temp}: can't be emptied: {error.strerror}", TEMP.encode()
            ) from error

    def _clear_way(self) -> None:
        """Move aside a file that stands where the WORKDIR or a folder above it has to be."""
        folders = [
            path
            for path in (self.path, *self.path.parents)
            if path.is_relative_to(self.workspace.work)
        ]
        for path in reversed(folders):
            if os.path.lexists(path) and not path.is_dir():
                self._move(path, "it is not a folder")

    def _set_aside(self, name: str, why: str) -> None:
        """Move one entry of the WORKDIR, or all of it, out of the way."""
        entry = self.path / name
        try:
            self._move(entry, why)
        except OSError:  # a folder of another user's can't be moved, but the one that it is in can
            self._move(self.path, why)

    def _move(self, path: Path, why: str) -> None:
        top = self.workspace.work.parent / ASIDE
        top.mkdir(mode=0o700, exist_ok=True)
        folder = top / time.strftime("%Y-%m-%dT%H-%M-%S")
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.iterdir()) + 1
        target = folder / f"{number}-{path.name}"[:LONGEST_ASIDE]
        path.rename(target)
        self.notes.append(f"{why}; {path} was moved to {target}, and `prov gc` removes it")

    def _settle(self) -> Start:
        commit = self.workspace.store.refs.get(self.ref)
        if not self.path.is_dir():
            return empty_start(self.writer)
        snapshot = self.capture()
        top = snapshot.folders[b""]
        if commit is not None and snapshot.pair == Records(self.workspace.store).workdir(commit):
            self._running.unlink(missing_ok=True)
            return Start(CommitId(commit), snapshot.pair)
        if not top.entries and not top.folders:
            return Start(
                empty_start(self.writer).commit, snapshot.pair
            )  # cleared, as rm_work does: nothing to keep
        if self.workspace.alias:
            return Start(empty_start(self.writer).commit, snapshot.pair)  # aside: nobody's but ours
        return self._keep(snapshot, CommitId(commit) if commit else None)

    def _keep(self, snapshot: Snapshot, commit: CommitId | None) -> Start:
        interrupted = self._interrupted()
        message = (
            f"left by {interrupted}, interrupted" if interrupted else "changed outside any task"
        )
        before = commit or empty_start(self.writer).commit
        found = write_workdir(self.writer, snapshot.pair, before, author(time.time()), message)
        self.writer.finish()
        refs = self.workspace.store.refs
        first = OutsideRef(self.node.arch, self.node.recipe.name, self.chain, 1)
        ref = replace(first, number=refs.last_number(first.prefix) + 1)
        refs.update(RefUpdate(str(ref), found, None), RefUpdate(self.ref, found))
        remember(snapshot, self.memory)
        if not interrupted:
            tag = str(ref).removeprefix(TAGS)
            self.notes.append(
                f"{self.path} was changed outside any task; what was there is kept as tag {tag}"
            )
        return Start(found, snapshot.pair)

    def _interrupted(self) -> str:
        """Return the task that was killed here, empty if none was; the file that names it may be
        torn.
        """
        try:
            name = self._running.read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        return name if re.fullmatch(r"[!-~]+:[!-~]+", name) else "a task"

    def start(self, job: Job) -> Start:
        """Return what a task starts from: the WORKDIRs that it takes over and the outputs put into
        them.
        """
        records = Records(self.workspace.store)
        starts = [Start(commit, records.workdir(commit)) for commit in job.after]
        outputs = [Owned(taken.key, self._taken(job, taken)) for taken in job.from_]
        if not starts and not outputs:
            return empty_start(self.writer)
        if len(starts) == 1 and not outputs:
            return starts[0]
        pair = self._joined(starts)
        if outputs:
            given = self._checked(union(self.writer, outputs))
            taken_over = Owned(", ".join(self.node.after), pair)
            pair = (
                self._checked(union(self.writer, [taken_over, Owned("an output", given)]))
                if starts
                else given
            )
        names = ", ".join([*self.node.after, *self.node.from_])
        parents = tuple(start.commit for start in starts)
        commit = Commit(pair.tree, parents, CONSTANT_IDENTITY, f"start from {names}\n")
        return Start(CommitId(self.writer.add_commit(commit)), pair)

    def _taken(self, job: Job, taken: Taken) -> Pair:
        """Return an output as it is put into this WORKDIR: with its paths."""
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
                f"{self.node.key} can't start: {first} and {second} both wrote {os.fsdecode(path)}",
                hint="let one of them come after the other, or give them different paths",
            )
        return merged.pair

    def put_in_place(self, wanted: Pair, *, now: Pair) -> None:
        """Make the WORKDIR, which holds `now`, hold what the task starts from."""
        self._running.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._running, f"{self.node.key}\n".encode(), durable=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        drop_default_acl(self.path.parent)
        if drop_default_acl(self.path):  # what was placed before has inherited it
            remove_tree(self.path)
            now = EMPTY
        try:
            checkout(self.writer, self.path, wanted, now=now)
        except CheckoutError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno in PASSING or not self.path.exists():
                raise
            self._set_aside("", str(cause))  # something in it can't be removed
            checkout(self.writer, self.path, wanted)
        clear_links(self.path)

    def put_over(self, job: Job, now: Pair) -> None:
        """Put the outputs that a task starts from over what is in the WORKDIR, as an incremental
        build wants it.

        What is new or changed gets the present for its mtime, so that make sees that it is newer.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for taken in job.from_:
            for path in taken.paths:
                wanted = at_path(self.writer, self._taken(job, taken), path)
                there = at_path(self.writer, now, path)
                if wanted is not None:
                    before = there.pair if there is not None and there.is_directory else EMPTY
                    target = self.path / os.fsdecode(path)
                    checkout(
                        self.writer, target, wanted.pair, now=before, placer=_Fresh(self.writer)
                    )

    def place_inputs(self, job: Job) -> None:
        """Put sources and patches into the WORKDIR, from the store: what was hashed is what is
        used.
        """
        for folder, files in (("sources", job.own.sources), ("patches", job.own.patches)):
            target = self.path / folder
            if files and os.path.lexists(target):
                self._check_inputs(target, {file.name for file in files})
                remove_tree(target)
            for file in files:
                target.mkdir(exist_ok=True)
                self._place(target, file)

    def _check_inputs(self, target: Path, names: set[str]) -> None:
        """Refuse to put inputs over what is in their folder and is none: a task made it, or an
        archive held it.
        """
        others = [target.name] if target.is_symlink() or not target.is_dir() else os.listdir(target)
        strange = sorted(set(others) - names)
        if strange:
            raise BuildError(
                f"{self.node.key}: its {target.name} go to {target}, where an earlier task put"
                f" {strange[0]}",
                hint="give that task's folder another name",
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
        """Note that the task's result is durable and that the WORKDIR is what its commit holds."""
        self._running.unlink(missing_ok=True)
        remember(snapshot, self.memory)
