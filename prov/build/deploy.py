"""The deploy directory: what tasks with `deploy = true` give, and nothing that a recipe no longer makes.

A ref per task names the output that is deployed. Every file is replaced by a rename, so that whoever serves the
directory sees the old file or the new one. What others put there is left alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.build.fixmes import has_marks, relocated
from prov.build.record import OUTPUT_MESSAGE, read_pair, write_pair
from prov.errors import BuildError
from prov.files import locked, naming, sync_directory
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Node, Pair, walk
from prov.worktree.checkout import check_name
from prov.worktree.merge import Owned, union
from prov.worktree.place import EPOCH_NS, Private
from prov.worktree.places import Places

PREFIX = "refs/prov/deploy/"


@dataclass(frozen=True, slots=True)
class Deployed:
    """What changed in the deploy directory: paths placed, paths removed."""

    placed: tuple[str, ...]
    removed: tuple[str, ...]


def deploy(
    store: Store, folder: Path, outputs: Mapping[str, Oid | None], places: Callable[[str], Places] | None = None
) -> Deployed:
    """Make the deploy directory hold these outputs (`ARCH/RECIPE/TASK` -> output id, None: no longer made).

    `places` tells which paths tokens stand for: those that the task saw.

    What other tasks deployed before stays. Raises BuildError when two tasks deploy different files under one name.
    """
    with locked(store.cache / "locks" / "deploy"), store.objects.writer() as writer:
        there = store.refs.list(PREFIX)
        before = {name.removeprefix(PREFIX): store.objects.commit(oid).tree for name, oid in there.items()}
        made = {name: _with_paths(writer, oid, name, places) for name, oid in outputs.items() if oid is not None}
        after = {name: oid for name, oid in {**before, **made}.items() if name in made or name not in outputs}
        old = dict(walk(writer, _merged(writer, before, strict=False)))
        new = dict(walk(writer, _merged(writer, after, strict=True)))
        removed = _remove(folder, [path for path in old if path not in new])
        placed = _place(store, writer, folder, old, new)
        updates = []
        for name in sorted(before.keys() | after.keys()):
            wanted = after.get(name)
            if before.get(name) != wanted:
                commit = writer.add_commit(Commit(wanted, (), CONSTANT_IDENTITY, OUTPUT_MESSAGE)) if wanted else None
                updates.append(RefUpdate(PREFIX + name, commit))
        writer.finish()
        if updates:
            _sync(folder, [*removed, *placed])
            store.refs.update(*updates)
    return Deployed(tuple(placed), tuple(removed))


def _sync(folder: Path, paths: list[str]) -> None:
    """Make files and their names durable, before refs tell that they are deployed."""
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


def _with_paths(writer: ObjectWriter, output: Oid, name: str, places: Callable[[str], Places] | None) -> Oid:
    """Return an output as it is deployed: with paths for tokens."""
    pair = read_pair(writer, output)
    if places is None or not has_marks(writer, pair):
        return output
    return write_pair(writer, relocated(writer, pair, places(name), binaries=True))


def _merged(writer: ObjectWriter, outputs: Mapping[str, Oid], *, strict: bool) -> Pair:
    parts = []
    for name, oid in outputs.items():
        for path, node in walk(writer, read_pair(writer, oid)):
            if node.is_directory and b"/" not in path:
                parts.append(Owned(name, node.pair))
    merged = union(writer, parts)
    if merged.conflicts and strict:
        path, first, second = merged.conflicts[0]
        raise BuildError(
            f"deploy: {first} and {second} both deploy {os.fsdecode(path)}", hint="give one of the files another name"
        )
    return merged.pair if parts else EMPTY


def _place(
    store: Store, writer: ObjectWriter, folder: Path, old: Mapping[bytes, Node], new: Mapping[bytes, Node]
) -> list[str]:
    placed = []
    for path, node in new.items():
        name = os.fsdecode(path)
        check_name(path.rpartition(b"/")[2])
        target = folder / name
        if node.is_directory:
            if target.is_symlink() or target.is_file():
                target.unlink()
            target.mkdir(parents=True, exist_ok=True)
        elif old.get(path) != node or not _untouched(store, target, node):
            target.parent.mkdir(parents=True, exist_ok=True)
            with naming(target):
                _replace(writer, target, node)
            placed.append(name)
    return placed


def _untouched(store: Store, target: Path, node: Node) -> bool:
    """Tell whether a file is as it was placed: whoever wrote to it moved its mtime, a crash leaves it too small."""
    try:
        state = target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISLNK(node.mode):
        return stat.S_ISLNK(state.st_mode) and os.fsencode(target.readlink()) == store.objects.blob(node.oid)
    same = state.st_mode == node.mode and state.st_mtime_ns == EPOCH_NS
    return same and state.st_size == store.objects.blob_size(node.oid)


def _replace(writer: ObjectWriter, target: Path, node: Node) -> None:
    temporary = _beside(target)
    fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=fd)
        if stat.S_ISLNK(node.mode):
            os.symlink(writer.blob(node.oid), temporary, dir_fd=fd)
        else:
            Private(writer).place(node._replace(mtime=None), temporary, fd)
        os.rename(temporary, os.fsencode(target.name), src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)


def _beside(target: Path) -> bytes:
    """Return the name under which a file is made: who deploys is alone, so the next one overwrites what is left."""
    return os.fsencode(f".{target.name}.prov.tmp")


def _remove(folder: Path, paths: list[bytes]) -> list[str]:
    removed = []
    for path in sorted(paths, reverse=True):
        target = folder / os.fsdecode(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if target.is_dir() and not target.is_symlink():
                with contextlib.suppress(OSError):  # somebody else's files are in it
                    target.rmdir()
            else:
                target.with_name(os.fsdecode(_beside(target))).unlink(missing_ok=True)
                target.unlink()
                removed.append(os.fsdecode(path))
    return removed
