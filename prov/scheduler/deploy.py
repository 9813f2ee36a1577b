"""The deploy directory: what tasks with `deploy = true` give, and nothing that a recipe no longer
makes.

It is a function of the outputs that are deployed: they are merged, their postprocess scripts change
the merged tree in a scratch folder, and the result is put in place. One ref, written last, holds
the outputs and the result. So a script that failed, or was never reached, runs with the next build,
and one that changed leaves nothing behind.

Every file is replaced by a rename, so that a reader of the directory sees the old file or the new
one. Files that prov did not put there are left alone.
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
"""Beside the deploy directory: where postprocess scripts change a copy of it."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TEMPORARY = b".prov-deploy.tmp"
"""The name under which a file is made: only one deployment runs at a time, and the next one removes
what is left.
"""


@dataclass(frozen=True, slots=True)
class Given:
    """An output that a task of this build deploys."""

    key: TaskKey
    output: OutputId
    toolchain: Toolchain
    """The host tools that its postprocess script gets."""
    places: TokenPaths
    """The paths that its tokens stand for: those that the task saw."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What changed in the deploy directory: paths placed, paths removed."""

    placed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where to deploy, and what to ask of the project."""

    store: Store
    folder: Path
    toolchains: Toolchains
    sandbox: str | None
    """Bubblewrap's program, in which postprocess scripts run, or None."""
    makes: Callable[[str], bool]
    """Whether the recipes still deploy `ARCH/RECIPE/TASK`."""
    current: Callable[[TaskKey], OutputId | None]
    """`RECIPE:TASK` -> the output that it has as the recipes are now, None if that is not known."""

    def deploy(self, given: Mapping[str, Given]) -> Deployed:
        """Make the deploy directory hold these outputs (by `ARCH/RECIPE/TASK`), and those deployed
        before.

        Raises BuildError when two tasks deploy different files under one name, or a postprocess
        script fails.
        """
        with locked(self.store.cache / "locks" / "deploy"), self.store.objects.writer() as writer:
            before = _State.read(self.store, DEPLOYED)
            interrupted = self.store.refs.get(DEPLOYING) is not None
            if not given and not before.tasks and not interrupted:
                return Deployed((), ())
            tasks = {
                name: task
                for name, task in before.tasks.items()
                if name not in given and self.makes(name)
            }
            tasks |= {
                name: _task(writer, each, before.tasks.get(name)) for name, each in given.items()
            }
            if tasks == before.tasks:
                wanted = before.pair
            else:
                tasks, merged = self._merged(writer, tasks, given)
                wanted = self._postprocessed(writer, tasks, merged)
            after = _State(tasks, wanted)
            return self._put_in_place(writer, before, after, changed=after != before or interrupted)

    def _put_in_place(
        self, writer: ObjectWriter, before: _State, after: _State, *, changed: bool
    ) -> Deployed:
        # of a deployment that was killed, files may be there that neither state has
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
        self, writer: ObjectWriter, tasks: Mapping[str, _Task], given: Mapping[str, Given]
    ) -> tuple[dict[str, _Task], Pair]:
        """Return the tasks and the union of their files.

        An output that an earlier build deployed, and that its recipe would not make any more, gives
        way.
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
                if name not in given and self.current(TaskKey(_key(name))) != tasks[name].output
            ]
            if not stale:
                first, second = map(_key, names)
                raise BuildError(
                    f"deploy: {first} and {second} deploy different files as {os.fsdecode(path)}",
                    hint=(
                        "give one of the files another name, or set `deploy = false` for one of the"
                        " tasks"
                    ),
                )
            old = tasks[stale[0]]
            tasks[stale[0]] = _Task(
                old.output, old.made, edit(writer, old.pair, {path.removesuffix(b"/."): None})
            )

    def _postprocessed(
        self, writer: ObjectWriter, tasks: Mapping[str, _Task], merged: Pair
    ) -> Pair:
        """Return what the postprocess scripts of these tasks, in the order of their names, make of
        a directory.
        """
        texts = {
            name: read_postprocess(writer, task.output) for name, task in sorted(tasks.items())
        }
        if not any(texts.values()):
            return merged
        scratch = self.folder.parent / SCRATCH
        if os.path.lexists(scratch):
            remove_tree(scratch)
        self.folder.mkdir(parents=True, exist_ok=True)  # what is mounted over it needs it
        scratch.mkdir(mode=0o700)  # a script may make programs in it that run as the user
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
    """What a task has in the deploy directory."""

    output: OutputId
    made: bytes
    """What its files and its script's effects depend on beside the output, as text: paths, and host
    tools.
    """
    pair: Pair
    """Its files as they are deployed, paths in place of tokens."""

    @property
    def toolchain(self) -> Toolchain:
        programs = decode_lines(self.made, " ")
        tree = bytes.fromhex(programs.pop("@toolchain"))
        programs.pop("@places")
        return Toolchain(tree, tuple(programs.items()))


def _task(writer: ObjectWriter, given: Given, before: _Task | None) -> _Task:
    """Return what a task deploys now; what was deployed before is reused where nothing changed."""
    facts = {"@places": hashlib.sha1(given.places.text()).hexdigest()}
    if read_postprocess(writer, given.output):
        facts |= {"@toolchain": given.toolchain.tree.hex(), **dict(given.toolchain.programs)}
    made = encode_lines(facts, " ")
    if before is not None and (before.output, before.made) == (given.output, made):
        return before
    pair = relocated(writer, read_pair(writer, given.output), given.places, binaries=True)
    folders = [
        node.pair
        for name, node in read_listing(writer, pair).items()
        if name != b"." and node.is_directory
    ]
    merged = union(
        writer, [Owned(f"{given.key}[{number}]", folder) for number, folder in enumerate(folders)]
    )
    if merged.conflicts:
        path = os.fsdecode(merged.conflicts[0].path)
        raise BuildError(
            f"deploy: {given.key} deploys different files as {path}",
            hint="from two of its output folders: rename one",
        )
    return _Task(
        given.output, made, without_setuid(writer, merged.pair, writer) if folders else EMPTY
    )


@dataclass(frozen=True, slots=True)
class _State:
    """The deploy directory: what each task (`ARCH/RECIPE/TASK`) has there, and what it holds in the
    end.
    """

    tasks: Mapping[str, _Task]
    pair: Pair

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
        """Write the state and return its commit, which keeps the outputs alive."""
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
    """Yield path and tree of the folders so many levels below one."""
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
    """Make files and their names durable, before the ref says that they are deployed."""
    tops = {folder.parent}
    for path in (folder / each for each in paths):
        if path.is_file() and not path.is_symlink():
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        tops.update(each for each in path.parents if each.is_relative_to(folder))
    for top in sorted(each for each in tops if each.is_dir()):
        sync_directory(top)


@dataclass(slots=True)
class _Below:
    """Folders below the deploy directory, entered by descriptor: a link on the way, whoever put it
    there, is no way.
    """

    top: Path
    _path: bytes = b""
    _fd: int = -1

    def __enter__(self) -> _Below:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def open(self, path: bytes, *, make: bool = True) -> int:
        """Return a folder's descriptor, which is good until the next call. A folder is made in
        place of anything else.

        Without `make`, raises FileNotFoundError or NotADirectoryError.
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
    except NotADirectoryError:  # a link, too
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
    """Tell whether a file is as it was placed: whoever wrote to it moved its mtime, a crash leaves
    it too small.
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
                    with contextlib.suppress(OSError):  # somebody else's files are in it
                        os.rmdir(name, dir_fd=fd)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(_TEMPORARY, dir_fd=fd)
                os.unlink(name, dir_fd=fd)
                removed.append(os.fsdecode(path))
    return removed
