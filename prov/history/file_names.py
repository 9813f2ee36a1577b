"""Find recorded files by name.

`hello:install@output/usr/bin/hello` names one file exactly, and so does a path on disk below a
WORKDIR. Any other path, including one in the deploy directory, is searched for in the last build:
in images, then in the targets' outputs, in packages, and in all other outputs. A match is at the
top of an output or up to DEPTH folders down, as in packages. Tasks that the last build did not
reach are searched in earlier builds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from prov.errors import NameUnknown
from prov.history.directories import PARTS, read_part
from prov.history.names import RunName, find_run, recorded_tasks
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.build_list import LOOK_BACK, BuildList, Line, walk_builds
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.records.refs import workdir_ref
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import nearest
from prov.worktree.attributes import FileNode, Pair, at_path, read_listing

DEPLOY = "deploy"
"""Folder for deployed files, beside the folder of WORKDIRs. Its paths omit the output folders."""
DEPTH = 3
"""How many folders deep to search an output for a path."""
_SYSROOT_FOLDERS = {SYSROOT: "sysroot", SYSROOT_NATIVE: "sysroot-native"}


@dataclass(frozen=True, slots=True)
class FileName:
    """A path in one part of a task: its `output`, its `workdir`, or one of its sysroots."""

    key: TaskKey
    part: str
    path: bytes
    commit: CommitId | None = None
    """The run, if the name or the path on disk specifies it."""

    @property
    def text(self) -> str:
        """The name as users write it."""
        return f"{self.key}@{self.part}/{os.fsdecode(self.path)}"


def find_file(store: Store, name: str, *, work: Path | None = None) -> FileName:
    """Return the file with a name or a path.

    `work` is the folder of WORKDIRs. Raises NameUnknown.
    """
    base, at, suffix = name.partition("@")
    part, _, path = suffix.partition("/")
    if at and part in PARTS and path:
        run = find_run(store, base)
        return FileName(run.key, part, os.fsencode(path), run.commit)
    if work is not None:
        full = Path(os.path.normpath(Path.cwd() / name))
        on_disk = _on_disk(store, name, full, work)
        if on_disk is not None:
            return on_disk
        deploy = work.with_name(DEPLOY)
        if full.is_relative_to(deploy):
            name = str(full.relative_to(deploy))
    return _in_builds(store, os.fsencode(name.strip("/")))


def _on_disk(store: Store, name: str, full: Path, work: Path) -> FileName | None:
    """Return the file at a path below a WORKDIR (ARCH/RECIPE/CHAIN), None for other paths."""
    if not full.is_relative_to(work) or len(full.relative_to(work).parts) < 4:
        return None
    arch, recipe, chain, *path = full.relative_to(work).parts
    state = store.refs.get(str(workdir_ref(arch, recipe, chain)))
    commit = _last_task_commit(store, state) if state is not None else None
    key = task_of(store, commit) if commit is not None else None
    if key is None:
        raise NameUnknown(f"{name}: no task is recorded for this WORKDIR")
    part = _SYSROOT_FOLDERS.get(path[0], "workdir")
    inside = path if part == "workdir" else path[1:]
    return FileName(key, part, os.fsencode("/".join(inside)), commit)


def _last_task_commit(store: Store, commit: Oid) -> CommitId:
    """Return the last task's commit in a WORKDIR, before changes made by hand."""
    objects = store.objects
    parents = objects.commit(commit).parents
    while len(parents) == 2 and not read_run_record(objects, commit).facts(objects):
        commit = parents[0]
        parents = objects.commit(commit).parents
    return CommitId(commit)


def task_of(store: Store, commit: Oid) -> TaskKey | None:
    """Return the key of the task recorded in a commit, or None."""
    text = read_run_record(store.objects, commit).facts(store.objects).get("task")
    return TaskKey(text) if text is not None else None


def node_in(store: Store, file: FileName, run: RunName | None = None) -> FileNode | None:
    """Return the recorded node of a file in a run, by default in the run of its name."""
    commit = run.commit if run else file.commit
    pair = read_part(store, commit, file.part) if commit else None
    return at_path(store.objects, pair, file.path) if pair else None


# by path alone


def _in_builds(store: Store, path: bytes) -> FileName:
    latest = BuildList.latest(store)
    if latest is None:
        raise NameUnknown("no build is recorded", hint="run `prov build` or `prov run`")
    searched: set[TaskKey] = set()
    recipes = set(latest.recipes())
    for build in islice(walk_builds(latest), LOOK_BACK):
        lines = {key: line for recipe in recipes for key, line in build.lines(recipe).items()}
        unsearched = {key: line for key, line in lines.items() if key not in searched}
        file = _in_outputs(build, unsearched, path)
        if file is not None:
            return file
        # an earlier build may have more tasks: this one had different targets, or failed
        searched |= lines.keys()
        before = build.before()
        recipes = before.differing(build) if before else set()
    text = os.fsdecode(path)
    tasks = recorded_tasks(store)
    raise NameUnknown(
        f"{text} not found in any output of the last build",
        hint=("" if text in tasks else nearest(text, tasks))
        or "use a full name such as hello:install@output/image/usr/bin/hello",
    )


def _in_outputs(build: BuildList, lines: Mapping[TaskKey, Line], path: bytes) -> FileName | None:
    objects = build.store.objects
    targets = build.facts().get("targets", "").split()
    for key in sorted(lines, key=lambda key: _search_order(key, targets)):
        output = lines[key].output
        if output is None or not objects.exists(output):
            continue
        place = find_below(build.store, read_pair(objects, output), path)
        if place is not None:
            return FileName(key, "output", place)
    return None


def _search_order(key: TaskKey, targets: list[str]) -> tuple[bool, bool, bool, TaskKey]:
    """Return the sort key of a task: images, then targets, then packages, then all others."""
    is_image = key.task.startswith(("image", "rootfs"))
    is_packaging = key.task.startswith(("package", "populate"))
    return not is_image, key not in targets, not is_packaging, key


def find_below(store: Store, pair: Pair, path: bytes, depth: int = DEPTH) -> bytes | None:
    """Return the location of a path in an output: at the top, or up to `depth` folders down.

    A folder that is the only entry of its parent does not count: BitBake's native recipes stage
    their files below the whole path of their sysroot.
    """
    if at_path(store.objects, pair, path) is not None:
        return path
    entries = read_listing(store.objects, pair)
    folders = sorted(name for name, node in entries.items() if node.is_directory and name != b".")
    is_single = len(folders) == 1 and len(entries.keys() - {b"."}) == 1
    if not is_single:
        depth -= 1
        # skip the folder that the path begins with: the lookup from the top covered it
        folders = [name for name in folders if not path.startswith(name + b"/")]
    if depth < 0:
        return None
    for name in folders:
        place = find_below(store, entries[name].pair, path, depth)
        if place is not None:
            return name + b"/" + place
    return None
