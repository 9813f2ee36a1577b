"""The deploy directory: the outputs of all tasks with `deploy = true`.

Its contents are a function of these outputs. They are merged, their postprocess scripts change the
merged tree in a scratch folder, and the result is copied to the deploy directory. Files of tasks
that the recipes no longer deploy are removed. One ref, written last, holds the outputs and the
result. A script that failed or was not reached therefore runs again in the next build, and a
changed script leaves no old files.

Each file is replaced by a rename, so readers of the directory see either the old or the new file.
Files not deployed by prov are never changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import BuildError
from prov.files import drop_default_acl, locked, naming, remove_tree, sync_directory
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.keyvalue import decode_lines, encode_lines
from prov.records.output import read_pair, read_postprocess, write_pair
from prov.records.refs import DEPLOYED, DEPLOYING
from prov.store.objects import CONSTANT_IDENTITY, MODE_DIRECTORY, MODE_FILE, Commit, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.tasks.relocate import relocated
from prov.tasks.script import run_postprocess
from prov.tasks.toolchain import Toolchain, Toolchains
from prov.worktree.attributes import (
    EMPTY,
    FileNode,
    Pair,
    TreeReader,
    read_listing,
    walk,
    without_setuid,
)
from prov.worktree.checkout import check_name, checkout
from prov.worktree.exclude import Exclude
from prov.worktree.merge import Owned, edit, union
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.placer import EPOCH_NS, PrivatePlacer
from prov.worktree.snapshot import capture

MESSAGE = "deployed\n"
SCRATCH = ".deploy"
"""The scratch folder next to the deploy directory, in which postprocess scripts run."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TEMPORARY = b".prov-deploy.tmp"
"""The temporary name of a new file.

One name is enough: only one deployment runs at a time, and it removes a leftover file.
"""


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """An output to deploy in this build."""

    key: TaskKey
    output: OutputId
    toolchain: Toolchain
    """The host tools for its postprocess script."""
    places: TokenPaths
    """The paths that replace its tokens: the paths the task ran with."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The paths placed in and removed from the deploy directory."""

    placed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deploy directory, and functions to query the project."""

    store: Store
    folder: Path
    toolchains: Toolchains
    sandbox: str | None
    """The path of bwrap, in which postprocess scripts run, or None."""
    makes: Callable[[str], bool]
    """Return whether the recipes still deploy `ARCH/RECIPE/TASK`."""
    current: Callable[[TaskKey], OutputId | None]
    """Return the output of a task as its recipe is now, or None if it is not known."""

    def deploy(self, outputs: Mapping[str, TaskOutput]) -> Deployed:
        """Deploy outputs (by `ARCH/RECIPE/TASK`) in addition to those deployed before.

        Raises BuildError if two tasks deploy different files with the same name, or if a
        postprocess script fails.
        """
        with locked(self.store.cache / "locks" / "deploy"), self.store.objects.writer() as writer:
            before = _State.read(self.store, DEPLOYED)
            interrupted = self.store.refs.get(DEPLOYING) is not None
            if not outputs and not before.tasks and not interrupted:
                return Deployed((), ())
            tasks = {
                name: task
                for name, task in before.tasks.items()
                if name not in outputs and self.makes(name)
            }
            tasks |= {
                name: _task(writer, output, before.tasks.get(name))
                for name, output in outputs.items()
            }
            if tasks == before.tasks:
                wanted = before.pair
            else:
                tasks, merged = self._merged(writer, tasks, outputs)
                wanted = self._postprocessed(writer, tasks, merged)
            after = _State(tasks, wanted)
            return self._put_in_place(writer, before, after, changed=after != before or interrupted)

    def _put_in_place(
        self, writer: ObjectWriter, before: _State, after: _State, *, changed: bool
    ) -> Deployed:
        # a killed deployment may have left files that are in neither state
        killed = _State.read(self.store, DEPLOYING)
        old = dict(walk(writer, killed.pair)) | dict(walk(writer, before.pair))
        new = dict(walk(writer, after.pair))
        if changed:
            commit = after.write(writer)
            writer.finish()
            self.store.refs.update(RefUpdate(DEPLOYING, commit))
        removed = _remove(self.folder, [path for path in old if path not in new])
        placed = _place(self.store, writer, self.folder, old, new)
        if changed or placed or removed:
            _sync(self.folder, [*removed, *placed])
        if changed:
            self.store.refs.update(RefUpdate(DEPLOYED, commit), RefUpdate(DEPLOYING, None))
        return Deployed(tuple(placed), tuple(removed))

    def _merged(
        self, writer: ObjectWriter, tasks: Mapping[str, _Task], outputs: Mapping[str, TaskOutput]
    ) -> tuple[dict[str, _Task], Pair]:
        """Return the tasks and the union of their files.

        On a conflict, the file of an outdated output (deployed by an earlier build, and different
        from its recipe's current output) is dropped.
        """
        tasks = dict(tasks)
        while True:
            merged = union(writer, [Owned(name, task.pair) for name, task in sorted(tasks.items())])
            if not merged.conflicts:
                return tasks, merged.pair if tasks else EMPTY
            path, *names = merged.conflicts[0]
            stale = [
                name
                for name in names
                if name not in outputs and self.current(TaskKey(_key(name))) != tasks[name].output
            ]
            if not stale:
                first, second = map(_key, names)
                raise BuildError(
                    f"deploy: {first} and {second} deploy different files as {os.fsdecode(path)}",
                    hint="rename one of the files, or set `deploy = false` for one of the tasks",
                )
            old = tasks[stale[0]]
            tasks[stale[0]] = _Task(
                old.output, old.made, edit(writer, old.pair, {path.removesuffix(b"/."): None})
            )

    def _postprocessed(
        self, writer: ObjectWriter, tasks: Mapping[str, _Task], merged: Pair
    ) -> Pair:
        """Run the tasks' postprocess scripts on a directory, in name order; return the result."""
        texts = {
            name: read_postprocess(writer, task.output) for name, task in sorted(tasks.items())
        }
        if not any(texts.values()):
            return merged
        scratch = self.folder.parent / SCRATCH
        if os.path.lexists(scratch):
            remove_tree(scratch)
        self.folder.mkdir(parents=True, exist_ok=True)  # the scratch folder is mounted over it
        scratch.mkdir(mode=0o700)  # a script may create programs in it that run as the user
        drop_default_acl(scratch)
        scratch.chmod(0o700)
        checkout(writer, scratch, merged)
        try:
            for name, text in texts.items():
                if text:
                    links = self.toolchains.links(tasks[name].toolchain)
                    run_postprocess(
                        links, text, scratch, _key(name), sandbox=self.sandbox, at=self.folder
                    )
            snapshot = capture(self.store, scratch, writer, exclude=Exclude(()))
            return without_setuid(writer, snapshot.output(b"", writer) or EMPTY, writer)
        finally:
            remove_tree(scratch)


@dataclass(frozen=True, slots=True)
class _Task:
    """A task's part of the deploy directory."""

    output: OutputId
    made: bytes
    """The other inputs of its files, as text: a hash of paths, and the script's host tools."""
    pair: Pair
    """Its deployed files, with tokens replaced by paths."""

    @property
    def toolchain(self) -> Toolchain:
        programs = decode_lines(self.made, " ")
        tree = bytes.fromhex(programs.pop("@toolchain"))
        programs.pop("@places")
        return Toolchain(tree, tuple(programs.items()))


def _task(writer: ObjectWriter, task: TaskOutput, before: _Task | None) -> _Task:
    """Return a task's part of the deploy directory; reuse `before` if nothing changed."""
    facts = {"@places": hashlib.sha1(task.places.text()).hexdigest()}
    if read_postprocess(writer, task.output):
        facts |= {"@toolchain": task.toolchain.tree.hex(), **dict(task.toolchain.programs)}
    made = encode_lines(facts, " ")
    if before is not None and (before.output, before.made) == (task.output, made):
        return before
    pair = relocated(writer, read_pair(writer, task.output), task.places, binaries=True)
    folders = [
        node.pair
        for name, node in read_listing(writer, pair).items()
        if name != b"." and node.is_directory
    ]
    merged = union(
        writer, [Owned(f"{task.key}[{number}]", folder) for number, folder in enumerate(folders)]
    )
    if merged.conflicts:
        path = os.fsdecode(merged.conflicts[0].path)
        raise BuildError(
            f"deploy: {task.key} deploys different files as {path}",
            hint="rename the file in one of its output folders",
        )
    return _Task(
        task.output, made, without_setuid(writer, merged.pair, writer) if folders else EMPTY
    )


@dataclass(frozen=True, slots=True)
class _State:
    """The recorded contents of the deploy directory."""

    tasks: Mapping[str, _Task]
    """`ARCH/RECIPE/TASK` -> its part."""
    pair: Pair
    """The result of merging and postprocessing."""

    @staticmethod
    def read(store: Store, ref: str) -> _State:
        commit = store.refs.get(ref)
        if commit is None:
            return _State({}, EMPTY)
        objects, top = store.objects, store.objects.commit(commit).tree
        tasks = {}
        for name, tree in _leaves(objects, objects.entry(top, "tasks"), 3):
            held = {entry.name: entry.oid for entry in objects.tree(tree)}
            tasks[name] = _Task(
                OutputId(held[b"output"]), objects.blob(held[b"made"]), read_pair(objects, tree)
            )
        return _State(tasks, read_pair(objects, top))

    def write(self, writer: ObjectWriter) -> Oid:
        """Write the state; return its commit, which keeps the outputs from being collected."""
        folders: dict[str, dict[str, list[Entry]]] = {}
        for name, task in self.tasks.items():
            arch, recipe, own = name.split("/")
            extra = [
                Entry(b"output", MODE_DIRECTORY, task.output),
                Entry(b"made", MODE_FILE, writer.add("blob", task.made)),
            ]
            tree = write_pair(writer, task.pair, extra)
            folders.setdefault(arch, {}).setdefault(recipe, []).append(
                Entry(own.encode(), MODE_DIRECTORY, tree)
            )
        arches = []
        for arch, recipes in folders.items():
            below = [
                Entry(name.encode(), MODE_DIRECTORY, writer.add_tree(own))
                for name, own in recipes.items()
            ]
            arches.append(Entry(arch.encode(), MODE_DIRECTORY, writer.add_tree(below)))
        tasks = [Entry(b"tasks", MODE_DIRECTORY, writer.add_tree(arches))] if arches else []
        return writer.add_commit(
            Commit(write_pair(writer, self.pair, tasks), (), CONSTANT_IDENTITY, MESSAGE)
        )


def _leaves(
    reader: TreeReader, entry: Entry | None, depth: int, path: str = ""
) -> Iterator[tuple[str, Oid]]:
    """Yield path and tree of the folders `depth` levels below an entry."""
    if entry is None:
        return
    if depth == 0:
        yield path.removeprefix("/"), entry.oid
        return
    for inside in reader.tree(entry.oid):
        yield from _leaves(reader, inside, depth - 1, f"{path}/{inside.name.decode()}")


def _key(name: str) -> str:
    """Return `RECIPE:TASK` of `ARCH/RECIPE/TASK`."""
    _arch, recipe, task = name.split("/")
    return f"{recipe}:{task}"


def _sync(folder: Path, paths: list[str]) -> None:
    """Sync files and their folders, before the ref marks them as deployed."""
    tops = {folder.parent}
    for path in (folder / name for name in paths):
        if path.is_file() and not path.is_symlink():
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        tops.update(parent for parent in path.parents if parent.is_relative_to(folder))
    for top in sorted(top for top in tops if top.is_dir()):
        sync_directory(top)


@dataclass(slots=True)
class _Below:
    """Opens folders below the deploy directory by descriptor and never follows symlinks."""

    top: Path
    _path: bytes = b""
    _fd: int = -1

    def __enter__(self) -> _Below:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def open(self, path: bytes, *, make: bool = True) -> int:
        """Return a folder's descriptor, valid until the next call.

        Create missing folders and replace files in the way by folders. Without `make`, raise
        FileNotFoundError or NotADirectoryError instead.
        """
        if self._fd >= 0 and path == self._path:
            return self._fd
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._path = os.open(self.top, _FOLDER), path
        for part in filter(None, path.split(b"/")):
            try:
                inside = _enter(part, self._fd, make=make)
            except BaseException:
                os.close(self._fd)
                self._fd = -1
                raise
            os.close(self._fd)
            self._fd = inside
        return self._fd


def _enter(name: bytes, folder: int, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    except NotADirectoryError:  # also for a symlink
        if not make:
            raise
        os.unlink(name, dir_fd=folder)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _place(
    store: Store,
    writer: ObjectWriter,
    folder: Path,
    old: Mapping[bytes, FileNode],
    new: Mapping[bytes, FileNode],
) -> list[str]:
    placed = []
    folder.mkdir(parents=True, exist_ok=True)
    with _Below(folder) as below:
        for path, node in new.items():
            parent, _, name = path.rpartition(b"/")
            check_name(name)
            if node.is_directory:
                below.open(path)
                continue
            fd = below.open(parent)
            if old.get(path) != node or not _untouched(store, fd, name, node):
                with naming(folder / os.fsdecode(path)):
                    _replace(writer, fd, name, node)
                placed.append(os.fsdecode(path))
    return placed


def _untouched(store: Store, folder: int, name: bytes, node: FileNode) -> bool:
    """Return whether a file is unchanged since it was placed.

    A write changes the mtime; a crash leaves the file too small.
    """
    try:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(node.mode):
        return stat.S_ISLNK(state.st_mode) and os.readlink(
            name, dir_fd=folder
        ) == store.objects.blob(node.oid)
    same = state.st_mode == node.mode and state.st_mtime_ns == EPOCH_NS
    return same and state.st_size == store.objects.blob_size(node.oid)


def _replace(writer: ObjectWriter, folder: int, name: bytes, node: FileNode) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_TEMPORARY, dir_fd=folder)
    if stat.S_ISLNK(node.mode):
        os.symlink(writer.blob(node.oid), _TEMPORARY, dir_fd=folder)
    else:
        PrivatePlacer(writer).place(node._replace(mtime=None), _TEMPORARY, folder)
    os.rename(_TEMPORARY, name, src_dir_fd=folder, dst_dir_fd=folder)


def _remove(folder: Path, paths: list[bytes]) -> list[str]:
    removed: list[str] = []
    if not folder.is_dir():
        return removed
    with _Below(folder) as below:
        for path in sorted(paths, reverse=True):
            parent, _, name = path.rpartition(b"/")
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                fd = below.open(parent, make=False)
                if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    with contextlib.suppress(OSError):  # it contains files not deployed by prov
                        os.rmdir(name, dir_fd=fd)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(_TEMPORARY, dir_fd=fd)
                os.unlink(name, dir_fd=fd)
                removed.append(os.fsdecode(path))
    return removed
