"""Find recorded directories by name.

A name is `recipe:task`, one of its parts (`recipe:task@output`), or any name that git resolves. A
path may follow a part: `zlib:populate_sysroot@output/sysroot-destdir/usr`. A build may precede a
task: `latest~3/zlib:compile`.
"""

from __future__ import annotations

from dataclasses import dataclass

from prov.errors import Elsewhere, NameUnknown
from prov.history.builds import find_build
from prov.history.names import find_run, record_elsewhere, recorded_tasks, run_elsewhere
from prov.records.entries import (
    ATTRIBUTES,
    CONTENT,
    FIXED,
    POSTPROCESS,
    SYSROOT_NATIVE,
    SYSROOT_TARGET,
)
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import part_at, read_run_record, read_task_commit, read_workdir
from prov.records.revisions import find_object
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import nearest
from prov.worktree.attributes import EMPTY, Pair, at_path

PARTS = ("output", "workdir", "before", "sysroot", "sysroot-native")
"""Directories of a run that a name can refer to."""
SYSROOTS = {"sysroot": SYSROOT_TARGET, "sysroot-native": SYSROOT_NATIVE}
"""Part -> path in the record."""
_OUTPUT_ENTRIES = {CONTENT, ATTRIBUTES, POSTPROCESS, FIXED}


@dataclass(frozen=True, slots=True)
class NamedDirectory:
    """A recorded directory with its name."""

    name: str
    pair: Pair
    commit: CommitId | None = None
    """The commit with this WORKDIR or tree; None if it is not the tree of a commit."""


def find_directory(store: Store, name: str) -> NamedDirectory:
    """Return the recorded directory with a name. Raises NameUnknown."""
    base, _, suffix = name.partition("@")
    part, _, path = suffix.partition("/")
    if part and part not in PARTS:
        raise NameUnknown(
            f"{name}: unknown part @{part}",
            hint=nearest(part, PARTS) or f"use one of @{', @'.join(PARTS)}",
        )
    whole = _find(store, name, base, part)
    if not path:
        return whole
    node = at_path(store.objects, whole.pair, path.encode("utf-8", "surrogateescape"))
    if node is None or not node.is_directory:
        raise NameUnknown(f"{name}: no such folder: {path}")
    return NamedDirectory(name, node.pair)


def _find(store: Store, name: str, base: str, part: str) -> NamedDirectory:
    build, _, key = base.rpartition("/")
    if ":" in key and ":" not in build:
        return _of_task(store, name, base, part)
    directory = _by_git(store, base)
    if not part:
        return directory
    commit = directory.commit
    if commit is None or len(store.objects.commit(commit).parents) != 2:
        raise NameUnknown(f"{base} has no {part}: not a run of a task")
    return _part(store, name, commit, part)


def _of_task(store: Store, name: str, base: str, part: str) -> NamedDirectory:
    build, _, key = base.rpartition("/")
    if build and part == "output":
        output = _output_in_build(store, name, build, TaskKey(key))
        if output is not None:
            return output
    try:
        run = find_run(store, base)
    except Elsewhere as error:
        if part != "output":
            raise
        run = record_elsewhere(store, error)
        if read_run_record(store.objects, run.commit).output is None:
            raise
    return _part(store, name, run.commit, part)


def _output_in_build(store: Store, name: str, build: str, key: TaskKey) -> NamedDirectory | None:
    """Return a task's output in a build; the store may have it without a run.

    Returns None if the build has no output of the task. Raises Elsewhere if the store lacks it.
    """
    line = find_build(store, build).line(key)
    if line is None or line.output is None:
        return None
    if not store.objects.exists(line.output):
        raise run_elsewhere(store, line.key, line.task_hash)
    return NamedDirectory(name, read_pair(store.objects, line.output))


def _part(store: Store, name: str, commit: CommitId, part: str) -> NamedDirectory:
    if part == "before":
        before = read_task_commit(store.objects, commit).before
        return NamedDirectory(name, read_workdir(store.objects, before), before)
    if part == "output" or part in SYSROOTS:
        pair = read_part(store, commit, part)
        if pair is None and part == "output":
            raise NameUnknown(
                f"{name}: the run failed and has no output",
                hint=f"run `prov show {name.partition('@')[0]}` to see its log",
            )
        return NamedDirectory(name, pair or EMPTY)
    return NamedDirectory(name, read_workdir(store.objects, commit), commit)


def read_part(store: Store, commit: Oid, part: str) -> Pair | None:
    """Return one of the PARTS of a recorded run, None if the run has no such part."""
    objects = store.objects
    if part == "workdir":
        return read_workdir(objects, commit)
    if part == "before":
        return read_workdir(objects, objects.commit(commit).parents[0])
    record = read_run_record(objects, commit)
    if part == "output":
        return read_pair(objects, record.result) if record.result else None
    entry = part_at(objects, record.tree, SYSROOTS.get(part, part))
    return read_pair(objects, entry.oid) if entry else None


def _by_git(store: Store, name: str) -> NamedDirectory:
    oid = _object(store, name)
    kind, _ = store.objects.read(oid)
    if kind == "commit":
        commit = store.objects.commit(oid)
        if len(commit.parents) == 2:
            return NamedDirectory(name, read_workdir(store.objects, oid), CommitId(oid))
        return NamedDirectory(name, _pair_of(store, commit.tree), CommitId(oid))
    if kind == "tree":
        return NamedDirectory(name, _pair_of(store, oid))
    raise NameUnknown(
        f"{name!r} is a {kind}, not a directory", hint="use a task, a tag, a commit or a tree"
    )


def _object(store: Store, name: str) -> Oid:
    """Return the id of the object with a name in git. Raises NameUnknown."""
    oid = find_object(store, name)
    if oid is None:
        hint = (
            nearest(name, recorded_tasks(store))
            or "use [BUILD/]RECIPE:TASK[@PART], a tag, a commit or a tree"
        )
        raise NameUnknown(f"{name!r} not found in the store", hint=hint)
    return oid


def _pair_of(store: Store, tree: Oid) -> Pair:
    """Return a tree as a directory. The tree of an output holds its directory in an entry."""
    entries = {entry.name for entry in store.objects.tree(tree)}
    if entries and entries <= _OUTPUT_ENTRIES:
        return read_pair(store.objects, tree)
    return Pair(tree, None)
