"""A file in what was recorded: found by name, and followed over builds.

`hello:install@output/usr/bin/hello` names one exactly, and so does a path on disk below a WORKDIR.
A path alone, or one in the deploy directory, is looked for in the last build, in images first, then
in its targets' outputs, in packages, and in all others; at the top of each, or a few folders
further down, as packages have it. Of tasks that this build did not come to, those before it tell.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from prov.errors import NameUnknown
from prov.history.builds import find_build, walk_builds
from prov.history.names import KINDS, SYSROOTS, RunName, find_run, recorded_tasks, run_in
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.build_list import LOOK_BACK, BuildList
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.records.refs import workdir_ref
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import nearest
from prov.worktree.attributes import FileNode, Pair, at_path, read_listing

MANY_LINES = 2000
DEPLOY = "deploy"
"""The folder beside that of the WORKDIRs where files are deployed, without the names of outputs'
folders.
"""


@dataclass(frozen=True, slots=True)
class FileName:
    """A path in one part of a task: its `output`, its `workdir`, or one of its sysroots."""

    key: TaskKey
    part: str
    path: bytes
    commit: Oid | None = None
    """The run, where one is named or the path on disk tells it."""

    @property
    def text(self) -> str:
        return f"{self.key}@{self.part}/{os.fsdecode(self.path)}"


def find_file(store: Store, name: str, *, work: Path | None = None) -> FileName:
    """Return the file that a name or a path stands for.

    `work` is the folder of WORKDIRs. Raises NameUnknown.
    """
    base, at, rest = name.partition("@")
    part, _, path = rest.partition("/")
    if at and part in KINDS and path:
        run = find_run(store, base)
        return FileName(run.key, part, os.fsencode(path), run.commit)
    if work is not None:
        full = Path(os.path.normpath(Path.cwd() / name))
        on_disk = _on_disk(store, name, full, work)
        if on_disk is not None:
            return on_disk
        if full.is_relative_to(work.with_name(DEPLOY)):
            name = str(full.relative_to(work.with_name(DEPLOY)))
    return _in_last_build(store, os.fsencode(name.strip("/")))


def _on_disk(store: Store, name: str, full: Path, work: Path) -> FileName | None:
    if not full.is_relative_to(work) or len(full.relative_to(work).parts) < 4:
        return None
    arch, recipe, chain, *rest = full.relative_to(work).parts
    commit = store.refs.get(str(workdir_ref(arch, recipe, chain)))
    if commit is None:
        raise NameUnknown(f"{name}: no task was recorded in that WORKDIR")
    while len(store.objects.commit(commit).parents) == 2 and not read_run_record(
        store.objects, commit
    ).facts(store.objects):
        commit = store.objects.commit(commit).parents[0]  # what somebody changed by hand
    key = task_of(store, commit)
    if key is None:
        raise NameUnknown(f"{name}: no task was recorded in that WORKDIR")
    tops = {SYSROOT: "sysroot", SYSROOT_NATIVE: "sysroot-native"}
    if rest[0] in tops:
        return FileName(TaskKey(key), tops[rest[0]], os.fsencode("/".join(rest[1:])), commit)
    return FileName(TaskKey(key), "workdir", os.fsencode("/".join(rest)), commit)


def _in_last_build(store: Store, path: bytes) -> FileName:
    latest = BuildList.latest(store)
    if latest is None:
        raise NameUnknown("no build is recorded", hint="`prov build`")
    seen: set[str] = set()
    recipes = set(latest.recipes())
    for build in islice(walk_builds(latest), LOOK_BACK):
        lines = {key: line for recipe in recipes for key, line in build.lines(recipe).items()}
        targets = build.facts().get("targets", "").split()
        for key in sorted(
            lines,
            key=lambda key: (not _is_image(key), key not in targets, not _is_packaging(key), key),
        ):
            output = lines[key].output if key not in seen else None
            there = output is not None and store.objects.exists(output)
            found = (
                _below(store, read_pair(store.objects, output), path) if output and there else None
            )
            if found is not None:
                return FileName(key, "output", found)
        seen |= (
            lines.keys()
        )  # the builds before it tell of other tasks: this one had another target, or failed
        before = build.before()
        recipes = before.differing(build) if before else set()
    text = os.fsdecode(path)
    raise NameUnknown(
        f"no output of the last build has {text}",
        hint=nearest(text, recorded_tasks(store))
        or "name it exactly, as in hello:install@output/image/usr/bin/hello",
    )


def _is_image(key: TaskKey) -> bool:
    return key.task.startswith(("image", "rootfs"))


def _is_packaging(key: TaskKey) -> bool:
    return key.task.startswith(("package", "populate"))


def _below(store: Store, pair: Pair, path: bytes, depth: int = 3) -> bytes | None:
    """Return where a path is in an output: at its top, or a few folders down.

    Folders that hold one folder and nothing else do not count: what BitBake's native recipes stage
    is below the whole path of their sysroot.
    """
    if at_path(store.objects, pair, path) is not None:
        return path
    listing = {
        name: node for name, node in read_listing(store.objects, pair).items() if name != b"."
    }
    folders = sorted(name for name, node in listing.items() if node.is_directory)
    alone = len(listing) == 1 and len(folders) == 1
    if not depth and not alone:
        return None
    for name in folders:
        if alone or not path.startswith(name + b"/"):
            found = _below(store, listing[name].pair, path, depth if alone else depth - 1)
            if found is not None:
                return name + b"/" + found
    return None


def task_of(store: Store, commit: Oid) -> str | None:
    """Return the key of the task that a commit records, or None."""
    return Records(store).facts(commit).get("task")


def part_of(store: Store, commit: Oid, part: str) -> Pair | None:
    """Return one part of a recorded run; None where it has none."""
    held = store.objects.commit(commit)
    if part == "workdir":
        return Records(store).workdir(commit)
    if part == "before":
        return Records(store).workdir(held.parents[0])
    record = read_run_record(store.objects, commit)
    entry = store.objects.entry(record.tree, SYSROOTS.get(part, part))
    return read_pair(store.objects, entry.oid) if entry else None


def node_in(store: Store, file: FileName, run: RunName | None = None) -> FileNode | None:
    """Return what is recorded of a file in a run, by default in the one that its name says."""
    commit = run.commit if run else file.commit
    pair = part_of(store, commit, file.part) if commit else None
    return at_path(store.objects, pair, file.path) if pair else None


# over builds


def built_run(store: Store, key: TaskKey) -> RunName:
    """Return the run that the last build which had a task has of it. Raises NameUnknown."""
    latest = find_build(store, "latest")
    return run_in(
        next((build for build in walk_builds(latest) if build.line(key) is not None), latest), key
    )


@dataclass(frozen=True, slots=True)
class Version:
    """A file's content from a build on, until the next version; None: it was not there."""

    build: CommitId
    seconds: int
    node: FileNode | None


def versions(store: Store, file: FileName, *, until: str = "latest") -> Iterator[Version]:
    """Yield a file's versions over builds, the newest first; it costs the builds that are asked
    for.
    """
    known: dict[Oid, FileNode | None] = {}
    first: tuple[BuildList, FileNode | None] | None = None
    for build in walk_builds(find_build(store, until)):
        line = build.line(file.key)
        if line is None or line.output is None:
            continue
        at = line.output if file.part == "output" else line.task_hash
        if at not in known:
            known[at] = _in_build(store, build, file)
        node = known[at]
        if first is not None and (node and node.same_content) != (
            first[1] and first[1].same_content
        ):
            yield _version(*first)
        first = build, node
    if first is not None and first[1] is not None:
        yield _version(*first)


def _version(build: BuildList, node: FileNode | None) -> Version:
    return Version(build.commit, build.store.objects.commit(build.commit).author.seconds, node)


def _in_build(store: Store, build: BuildList, file: FileName) -> FileNode | None:
    line = build.line(file.key)
    if file.part == "output" and line is not None and line.output is not None:
        return at_path(store.objects, read_pair(store.objects, line.output), file.path)
    try:
        return node_in(store, file, run_in(build, file.key))
    except NameUnknown:
        return None


@dataclass(frozen=True, slots=True)
class BlamedLine:
    """A line of a text, and the version that brought it."""

    version: int
    """Its place in the list of versions."""
    text: str


def blame_lines(texts: Sequence[str]) -> list[BlamedLine]:
    """Return the lines of the last text, each with the number of the first text that has had it
    since.

    Line ends count: who changed only those changed the line.
    """
    blamed: list[BlamedLine] = []
    for number, text in enumerate(texts):
        now = text.splitlines(keepends=True)
        # of many lines, those that many others equal are no beginning of a match: that would take
        # quadratic time
        many = len(now) > MANY_LINES
        matcher = difflib.SequenceMatcher(None, [line.text for line in blamed], now, autojunk=many)
        blamed = list(_blend(blamed, now, matcher, number))
    return blamed


def _blend(
    before: list[BlamedLine], now: list[str], matcher: difflib.SequenceMatcher[str], number: int
) -> Iterator[BlamedLine]:
    for what, low, high, at, end in matcher.get_opcodes():
        if what == "equal":
            yield from before[low:high]
        else:
            yield from (BlamedLine(number, text) for text in now[at:end])
