"""Find the tasks that wrote a file, back to the sources of its content.

A file in a WORKDIR is followed by path along the commits of its chain: the task of a commit that
changed the file wrote it. A file that a task started with leads to the output it came from; a file
in a sysroot leads to the package that staged it. A new file is a copy if the task already had the
same content under a different name.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prov.errors import NameUnknown, StoreError
from prov.history.directories import SYSROOTS, read_part
from prov.history.file_names import FileName, node_in, task_of
from prov.history.file_versions import BlamedLine, blame_lines
from prov.history.inputs import Inputs, read_inputs
from prov.history.producers import Producers
from prov.reads.buildfiles.collect import Unit
from prov.reads.buildfiles.units import units_of
from prov.records.entries import SYSROOT_OF
from prov.records.ids import CommitId, OutputId, Unihash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record, read_workdir
from prov.records.refs import runs_of
from prov.store.objects import MODE_DIRECTORY, Entry, Oid
from prov.store.repository import Store
from prov.tasks.sandbox import SYSROOTS as SANDBOXED
from prov.worktree.attributes import FileNode, at_path
from prov.worktree.content_search import ContentSearch
from prov.worktree.pool import EMPTY_BLOB

What = Literal["made", "rewrote", "copied"]
MOST_STEPS = 500
LEVELS = 4
"""How many levels of dependencies to search for a copy's source, such as a file in an archive."""
OUTSIDE = TaskKey("changed outside any task")
"""Task key of a change made by hand."""
SYSROOT_PLACES = tuple(f"{place}/" for pair in SANDBOXED.items() for place in pair)
"""Where tasks see their sysroots: in a sandbox, and in the WORKDIR."""
_RECIPE = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, slots=True)
class WriteStep:
    """What one task did to a file. Steps are ordered from the newest to the oldest."""

    key: TaskKey
    what: What
    path: str
    """Path in the task's WORKDIR."""
    commit: CommitId
    origin: str = ""
    """Source of a copy; empty for other steps."""
    patches: tuple[str, ...] = ()
    """Names of the task's patches that change the file."""


@dataclass(frozen=True, slots=True)
class BlamedUnit:
    """A compilation unit, with the tasks that staged headers which it read."""

    unit: Unit
    staged: Mapping[str, TaskKey]
    """Path of a header in a sysroot -> the task that staged it."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Where a file comes from."""

    file: FileName
    node: FileNode
    steps: tuple[WriteStep, ...]
    sources: tuple[tuple[str, str], ...]
    """Sources of the first task's recipe: name, and a checksum, commit or object id."""
    units: tuple[BlamedUnit, ...] = ()
    """The compilation units of an object, a program or an archive, if depfiles state them."""


@dataclass(frozen=True, slots=True)
class Location:
    """A path in the WORKDIR of a commit."""

    commit: CommitId
    path: bytes


@dataclass(frozen=True, slots=True)
class TakenOutput:
    """An output that a task started from (`from`) or had in its sysroot (`needs`)."""

    kind: str
    key: TaskKey
    output: OutputId


def blame(store: Store, file: FileName) -> Blame:
    """Return a file's history through tasks. Raises NameUnknown if the file does not exist."""
    node = node_in(store, file)
    if node is None or file.commit is None:
        raise NameUnknown(f"no file {os.fsdecode(file.path)} in the {file.part} of {file.key}")
    tracer = _Tracer(store, Producers(store), ContentSearch(store.objects))
    steps = tuple(tracer.follow(file.commit, file.part, file.path))
    last = steps[-1].commit if steps else file.commit
    return Blame(file, node, steps, tuple(tracer.sources(last)), tuple(tracer.units(steps)))


@dataclass(slots=True)
class _Tracer:
    store: Store
    producers: Producers
    contents: ContentSearch

    def follow(self, commit: CommitId, part: str, path: bytes) -> Iterator[WriteStep]:
        """Yield the steps of a file in one part of a run, the newest first."""
        location = self.start(commit, part, path)
        for _ in range(MOST_STEPS):
            if location is None:
                return
            step, location = self.last_write(location)
            if step is not None:
                yield step

    def start(self, commit: CommitId, part: str, path: bytes) -> Location | None:
        """Return the WORKDIR location of a file in one part of a run."""
        if part in SYSROOTS:
            return self.from_sysroot(commit, path)
        if part == "before":
            return self.from_start(commit, path)
        if part == "output" and self.at(commit, path) is None:
            return self.in_workdir(commit, path)
        return Location(commit, path)

    def in_workdir(self, commit: CommitId, path: bytes) -> Location:
        """Return the WORKDIR location of a file in an output.

        The output of a BitBake task may start in a subfolder of its WORKDIR.
        """
        output = read_part(self.store, commit, "output")
        node = at_path(self.store.objects, output, path) if output else None
        if node is None or node.is_directory:
            return Location(commit, path)
        workdir = read_workdir(self.store.objects, commit)
        return Location(commit, self.contents.find(workdir, node.oid, like=path) or path)

    def last_write(self, location: Location) -> tuple[WriteStep | None, Location | None]:
        """Return the last step that wrote a path up to a commit, and where its content was before.

        The step is None if the path was already there when the chain of tasks started.
        """
        node = self.at(location.commit, location.path)
        commit, path = location.commit, location.path
        while True:
            parent = self.parent(commit)
            before = self.at(parent, path) if parent is not None else None
            if parent is None or before is None or node is None:
                break
            if before.same_file != node.same_file:
                break
            if not self.is_task(parent):
                return None, self.from_start(commit, path)
            commit = parent
        return self.written(Location(commit, path), node, is_new=before is None)

    def written(
        self, location: Location, node: FileNode | None, *, is_new: bool
    ) -> tuple[WriteStep, Location | None]:
        """Return the step of the commit that wrote a path, and where its content was before."""
        commit, path = location.commit, location.path
        text = os.fsdecode(path)
        key = task_of(self.store, commit)
        if key is None:
            return WriteStep(OUTSIDE, "made" if is_new else "rewrote", text, commit), None
        patches = tuple(name for name, _ in self.patches(commit, path))
        if not is_new:
            step = WriteStep(key, "rewrote", text, commit, patches=patches)
            return step, self.before_task(commit, path)
        is_file = node is not None and not node.is_directory
        origin = self.copied_from(location, node.oid) if node is not None and is_file else None
        if origin is None:
            return WriteStep(key, "made", text, commit, patches=patches), None
        name, source = origin
        return WriteStep(key, "copied", text, commit, name), source

    def patches(self, commit: CommitId, path: bytes) -> list[tuple[str, bytes]]:
        """Return the names and texts of a task's own patches that change a path."""
        inputs = self.inputs(commit)
        own = inputs.own.items() if inputs else ()
        texts = [
            (name, self.store.objects.blob(entry.oid))
            for (kind, name), entry in own
            if kind == "patch"
        ]
        return sorted((name, text) for name, text in texts if changes_path(text, path))

    # locations

    def at(self, commit: Oid, path: bytes) -> FileNode | None:
        """Return the node at a path in a commit's WORKDIR."""
        return at_path(self.store.objects, read_workdir(self.store.objects, commit), path)

    def parent(self, commit: CommitId) -> CommitId | None:
        """Return the commit of the WORKDIR before a commit."""
        parents = self.store.objects.commit(commit).parents
        return CommitId(parents[0]) if parents else None

    def is_task(self, commit: CommitId) -> bool:
        """Return whether a commit has a record. The start commit of an empty WORKDIR has none."""
        return len(self.store.objects.commit(commit).parents) == 2

    def before_task(self, commit: CommitId, path: bytes) -> Location | None:
        """Return where a path was before a task: in its predecessor's WORKDIR or in an output."""
        parent = self.parent(commit)
        if parent is not None and self.is_task(parent):
            return Location(parent, path)
        return self.from_start(commit, path)

    def from_start(self, commit: CommitId, path: bytes) -> Location | None:
        """Return the origin of a path that was in a task's WORKDIR when the task started."""
        objects = self.store.objects
        start = self.parent(commit)
        grandparents = objects.commit(start).parents if start is not None else ()
        for grandparent in grandparents:
            if self.at(grandparent, path) is not None:
                return Location(CommitId(grandparent), path)
        for taken in self.taken_outputs(commit):
            if taken.kind != "from":
                continue
            if at_path(objects, read_pair(objects, taken.output), path) is not None:
                run = self.run_of(taken)
                return Location(run, path) if run is not None else None
        return None

    def from_sysroot(self, commit: CommitId, path: bytes) -> Location | None:
        """Return the location of a sysroot's file in the WORKDIR of the task that staged it."""
        objects = self.store.objects
        for taken in self.taken_outputs(commit):
            run = self.run_of(taken) if taken.kind == "needs" else None
            if run is None:
                continue
            for top in self.output_folders(run):
                place = top + path
                if at_path(objects, read_pair(objects, taken.output), place) is None:
                    continue
                if self.at(run, place) is None:  # a step of Buildroot installs elsewhere
                    return self.in_workdir(run, place)
                return Location(run, place)
        return self.from_bitbake_sysroot(commit, path)

    def from_bitbake_sysroot(self, commit: CommitId, path: bytes) -> Location | None:
        """Return the location of a file in a sysroot composed for a BitBake task.

        The record lists the staged recipes with BitBake task hashes. Native recipes stage files
        below the path of their sysroot.
        """
        key = task_of(self.store, commit)
        recipe = key.recipe if key is not None else ""
        multiconfig = recipe[: recipe.rindex(".") + 1] if recipe.startswith("mc.") else ""
        record = read_run_record(self.store.objects, commit)
        rows = record.text(self.store.objects, SYSROOT_OF).decode("utf-8", "replace").splitlines()
        for row in rows:
            name, _, task_hash = row.partition(" ")
            if not _RECIPE.fullmatch(name):  # a fetched record may hold anything
                continue
            staging = TaskKey.of(f"{multiconfig}{name}", "do_populate_sysroot")
            location = self.staged_by(staging, task_hash, path)
            if location is not None:
                return location
        return None

    def staged_by(self, key: TaskKey, bitbake_hash: str, path: bytes) -> Location | None:
        """Return the location of a staged path in the run of a task with a BitBake task hash."""
        for oid in self.store.refs.list(runs_of(key)).values():
            run = CommitId(oid)
            facts = read_run_record(self.store.objects, run).facts(self.store.objects)
            if facts.get("bitbake-taskhash") != bitbake_hash:
                continue
            for top in ("", f"{facts.get('workdir', '')}/recipe-sysroot-native"):
                place = os.fsencode(f"sysroot-destdir{top}/") + path
                if self.at(run, place) is not None:
                    return Location(run, place)
        return None

    def output_folders(self, run: CommitId) -> list[bytes]:
        """Return the output folders of a run, each with a trailing slash."""
        facts = read_run_record(self.store.objects, run).facts(self.store.objects)
        try:
            return [os.fsencode(text) + b"/" for text in shlex.split(facts.get("outputdir", ""))]
        except ValueError:  # invalid quoting, in a record that prov did not write
            return []

    # inputs

    def inputs(self, commit: CommitId) -> Inputs | None:
        """Return the inputs of the task recorded in a commit, None if the store lacks them."""
        key = task_of(self.store, commit)
        task_hash = read_run_record(self.store.objects, commit).task_hash
        if key is None or task_hash is None:
            return None
        try:
            return read_inputs(self.store.objects, key, task_hash)
        except StoreError:
            return None

    def taken_outputs(self, commit: CommitId) -> Iterator[TakenOutput]:
        """Yield the outputs that a task used and that the store still has."""
        inputs = self.inputs(commit)
        for (kind, key), oid in inputs.edges.items() if inputs else ():
            if kind == "after" or oid is None or isinstance(oid, Unihash):
                continue
            if self.store.objects.exists(oid):
                yield TakenOutput(kind, key, OutputId(oid))

    def run_of(self, taken: TakenOutput) -> CommitId | None:
        """Return the commit of a run that produced an output."""
        task_hash = self.producers.hash_of(taken.key, taken.output)
        if task_hash is None:
            return None
        return Records(self.store).last_run(taken.key, task_hash)[1]

    # compilation units

    def units(self, steps: Sequence[WriteStep]) -> Iterator[BlamedUnit]:
        """Yield the compilation units of a file with these steps, if a task made it."""
        made = steps[-1] if steps and steps[-1].what == "made" else None
        if made is None or made.key == OUTSIDE:
            return
        staged: dict[str, TaskKey | None] = {}
        for unit in units_of(self.store, made.commit, made.path):
            for path in unit.read:
                if path not in staged:
                    staged[path] = self.staged_from(made.commit, path)
            keys = ((path, staged[path]) for path in unit.read)
            yield BlamedUnit(unit, {path: key for path, key in keys if key is not None})

    def staged_from(self, commit: CommitId, path: str) -> TaskKey | None:
        """Return the task that staged a file of a sysroot, by its path as the task saw it."""
        for place in SYSROOT_PLACES:
            if path.startswith(place):
                location = self.from_sysroot(commit, os.fsencode(path.removeprefix(place)))
                return task_of(self.store, location.commit) if location is not None else None
        return None

    # copies

    def copied_from(self, location: Location, oid: Oid) -> tuple[str, Location] | None:
        """Return a text and a location for the file that a new file was copied from.

        Returns None for an empty file, and for a short file without a source of the same name:
        their content occurs by chance.
        """
        if oid == EMPTY_BLOB:
            return None
        commit, path = location.commit, location.path
        for part in ("before", *SYSROOTS):
            pair = read_part(self.store, commit, part)
            place = self.contents.find(pair, oid, like=path) if pair else None
            if place is None:
                continue
            source = self.in_part(commit, part, place)
            if source is not None:
                prefix = "" if part == "before" else f"{part} "
                return f"{prefix}{os.fsdecode(place)}", source
        return self.in_taken_workdirs(location, oid)

    def in_part(self, commit: CommitId, part: str, path: bytes) -> Location | None:
        """Return the origin of a path in the WORKDIR before a task, or in one of its sysroots."""
        if part == "before":
            return self.before_task(commit, path)
        return self.from_sysroot(commit, path)

    def in_taken_workdirs(self, location: Location, oid: Oid) -> tuple[str, Location] | None:
        """Search for a content in the WORKDIRs of a task's input tasks.

        Their outputs may be archives.
        """
        level, visited = [location.commit], {location.commit}
        for _ in range(LEVELS):
            below = []
            for taken in [taken for commit in level for taken in self.taken_outputs(commit)]:
                run = self.run_of(taken)
                if run is None or run in visited:
                    continue
                visited.add(run)
                below.append(run)
                workdir = read_workdir(self.store.objects, run)
                place = self.contents.find(workdir, oid, like=location.path)
                if place is not None:
                    return f"{taken.key}'s {os.fsdecode(place)}", Location(run, place)
            level = below
        return None

    # sources

    def sources(self, commit: CommitId) -> Iterator[tuple[str, str]]:
        """Yield the sources of a task's recipe.

        They are the task's own inputs, or those of the nearest earlier task that has any.
        """
        pending, visited = [commit], {commit}
        while pending:
            current = pending.pop(0)
            inputs = self.inputs(current)
            own = _own_sources(inputs) if inputs else {}
            if own:
                yield from ((name, self.source_text(entry)) for name, entry in own.items())
                return
            for earlier in self.own_before(current, inputs):
                if earlier not in visited:
                    visited.add(earlier)
                    pending.append(earlier)

    def own_before(self, commit: CommitId, inputs: Inputs | None) -> Iterator[CommitId]:
        """Yield the runs of the same recipe that a task continues from."""
        recipe = inputs.key.recipe if inputs else ""
        parent = self.parent(commit)
        if parent is not None and task_of(self.store, parent) is not None:
            yield parent
        for taken in self.taken_outputs(commit):
            if taken.kind == "from" and taken.key.recipe == recipe:
                run = self.run_of(taken)
                if run is not None:
                    yield run

    def source_text(self, entry: Entry) -> str:
        """Return a source's pinned checksum or commit, or the id of its content."""
        if entry.mode == MODE_DIRECTORY:
            return f"tree {entry.oid.hex()}"
        text = self.store.objects.blob(entry.oid)
        is_pinned = text.startswith((b"git ", b"sha256 ", b"md5 ")) and text.count(b"\n") == 1
        return text.decode("utf-8", "replace").strip() if is_pinned else f"blob {entry.oid.hex()}"


def _own_sources(inputs: Inputs) -> dict[str, Entry]:
    """Return the sources among a task's own inputs, without non-source files (`%…`)."""
    return {
        name: entry
        for (kind, name), entry in inputs.own.items()
        if kind == "source" and not name.startswith("%")
    }


# lines


def line_origins(store: Store, file: Blame) -> list[str]:
    """Return the task that introduced each line of a file, with its patch if it has one.

    An example is `zlib:patch 0001-fix.patch`. The text is empty for a line that was already there
    when the first known task started.
    """
    tracer = _Tracer(store, Producers(store), ContentSearch(store.objects))
    versions: list[tuple[WriteStep, str]] = []
    for step in reversed(file.steps):
        node = tracer.at(step.commit, os.fsencode(step.path))
        if node is not None and not node.is_directory:
            versions.append((step, store.objects.blob(node.oid).decode("utf-8", "replace")))
    last = store.objects.blob(file.node.oid).decode("utf-8", "replace")
    lines = blame_lines([*(text for _, text in versions), last])
    steps = [step for step, _ in versions]
    return [_origin(tracer, steps, line) for line in lines]


def _origin(tracer: _Tracer, steps: list[WriteStep], line: BlamedLine) -> str:
    if line.version >= len(steps):
        return ""
    step = steps[line.version]
    added = b"+" + line.text.rstrip("\r\n").encode("utf-8", "surrogateescape")
    patches = tracer.patches(step.commit, os.fsencode(step.path)) if step.patches else []
    for name, text in reversed(patches):
        if added in text.splitlines():
            return f"{step.key} {name}"
    return step.key


def changes_path(patch: bytes, path: bytes) -> bool:
    """Return whether a patch changes a path.

    The number of leading folders in the patch's names (`-p`) is unknown here, so suffixes match
    too.
    """
    for line in patch.splitlines():
        if line.startswith((b"+++ ", b"--- ")):
            name = line[4:].split(b"\t")[0].strip()
            inside = name.partition(b"/")[2] or name
            if path == inside or path.endswith(b"/" + inside):
                return True
    return False
