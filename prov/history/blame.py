"""Which task made a file: from an image, a package, a sysroot or a WORKDIR back to where its
content comes from.

A WORKDIR's file is followed by path along the commits of its chain: a task in whose commit it is
another than in the one before wrote it. What a task started from leads to the output that it was
taken from, a sysroot's file to the package that brought it. A file that is new and whose content a
task had at hand under another name is a copy of that.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from prov.errors import NameUnknown, StoreError
from prov.history.files import FileName, blame_lines, node_in, part_of, task_of
from prov.history.inputs import Inputs, read_inputs
from prov.history.producers import Producers
from prov.records.entries import SYSROOT_OF
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.store.objects import MODE_DIRECTORY, Entry, Oid, unescape_name
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Pair, at_path
from prov.worktree.pool import EMPTY_BLOB

What = Literal["made", "rewrote", "copied"]
MOST_STEPS = 500
MOST_TREES = 20_000
"""How many trees are read in search of a content under another name."""
SHORT = 16
"""Bytes; files that are shorter have often the same content by chance."""
LEVELS = 4
"""Of the graph, how far down a content is searched for that no task had as a file: a package's, in
an archive.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One task's part in a file; the first step is the last in time."""

    key: TaskKey
    what: What
    path: str
    """In its WORKDIR."""
    commit: Oid
    origin: str = ""
    """Of a copy: what it was copied from."""
    patches: tuple[str, ...] = ()
    """Of the task's patches, the names of those that change the file."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Where a file comes from."""

    file: FileName
    node: FileNode
    steps: tuple[Step, ...]
    sources: tuple[tuple[str, str], ...]
    """What the recipe of the first task builds from: name, and a checksum, commit or id."""


def blame(store: Store, file: FileName) -> Blame:
    """Return a file's history through tasks. Raises NameUnknown for what is not there."""
    node = node_in(store, file)
    if node is None or file.commit is None:
        raise NameUnknown(f"there is no {os.fsdecode(file.path)} in the {file.part} of {file.key}")
    tracer = _Tracer(store, Producers(store))
    steps = tuple(tracer.follow(file.commit, file.part, file.path))
    last = steps[-1].commit if steps else file.commit
    return Blame(file, node, steps, tuple(tracer.sources(last)))


@dataclass(slots=True)
class _Tracer:
    store: Store
    producers: Producers
    _trees: int = 0
    _without: set[tuple[Oid, Oid]] = field(default_factory=set)
    """Trees that don't have a content."""

    def follow(self, commit: Oid, part: str, path: bytes) -> Iterator[Step]:
        place: tuple[Oid, bytes] | None = (commit, path)
        if part in ("sysroot", "sysroot-native"):
            place = self.from_sysroot(commit, path)
        elif part == "before":
            place = self.from_start(commit, path)
        elif part == "output" and self.at(commit, path) is None:
            place = self.in_workdir(commit, path)
        steps = 0
        while place is not None and steps < MOST_STEPS:
            step, place = self.writer(*place)
            if step is not None:
                yield step
            steps += 1

    def in_workdir(self, commit: Oid, path: bytes) -> tuple[Oid, bytes] | None:
        """Return where a file of an output is in the WORKDIR: outputs of BitBake's tasks may begin
        further down.
        """
        output = part_of(self.store, commit, "output")
        node = at_path(self.store.objects, output, path) if output else None
        found = None
        if node is not None and not node.is_directory:
            found = self.search(Records(self.store).workdir(commit), node.oid, path)
        return commit, found or path

    def writer(self, commit: Oid, path: bytes) -> tuple[Step | None, tuple[Oid, bytes] | None]:
        """Return the last task that wrote a path, up to a commit, and where its content was
        before.
        """
        objects = self.store.objects
        node = self.at(commit, path)
        while True:
            held = objects.commit(commit)
            before = self.at(held.parents[0], path) if held.parents else None
            if before is None or node is None or before.same_file != node.same_file:
                break
            if len(objects.commit(held.parents[0]).parents) != 2:
                return None, self.from_start(commit, path)
            commit = held.parents[0]
        key = task_of(self.store, commit)
        if key is None:
            return Step(
                TaskKey("changed outside any task"),
                "rewrote" if before else "made",
                _text(path),
                commit,
            ), None
        patches = tuple(name for name, _ in self.patches(commit, path))
        if before is not None:
            return Step(
                TaskKey(key), "rewrote", _text(path), commit, patches=patches
            ), self.task_or_start(commit, path)
        origin = (
            self.copied_from(commit, path, node)
            if node is not None and not node.is_directory
            else None
        )
        if origin is None:
            return Step(TaskKey(key), "made", _text(path), commit, patches=patches), None
        return Step(TaskKey(key), "copied", _text(path), commit, origin[0]), origin[1]

    def patches(self, commit: Oid, path: bytes) -> list[tuple[str, bytes]]:
        """Return names and texts of a task's own patches that change a path."""
        inputs = self.inputs(commit)
        own = inputs.own.items() if inputs else ()
        texts = [
            (name, self.store.objects.blob(entry.oid))
            for (kind, name), entry in own
            if kind == "patch"
        ]
        return sorted((name, text) for name, text in texts if _changes(text, path))

    def at(self, commit: Oid, path: bytes) -> FileNode | None:
        return at_path(self.store.objects, Records(self.store).workdir(commit), path)

    def task_or_start(self, commit: Oid, path: bytes) -> tuple[Oid, bytes] | None:
        """Return where a path was before a task: in the WORKDIR of the one before it, or in an
        output.
        """
        parent = self.store.objects.commit(commit).parents[0]
        if len(self.store.objects.commit(parent).parents) == 2:
            return parent, path
        return self.from_start(commit, path)

    def from_start(self, commit: Oid, path: bytes) -> tuple[Oid, bytes] | None:
        """Return where a path comes from that a task found in its WORKDIR when it started."""
        objects = self.store.objects
        start = objects.commit(commit).parents[0]
        for parent in objects.commit(start).parents:
            if self.at(parent, path) is not None:
                return parent, path
        for kind, key, output in self.outputs(commit):
            if kind == "from" and at_path(objects, read_pair(objects, output), path) is not None:
                run = self.run(key, output)
                return (run, path) if run is not None else None
        return None

    def from_sysroot(self, commit: Oid, path: bytes) -> tuple[Oid, bytes] | None:
        for kind, key, output in self.outputs(commit):
            run = self.run(key, output) if kind == "needs" else None
            for top in self.tops(run) if run is not None else ():
                if (
                    at_path(self.store.objects, read_pair(self.store.objects, output), top + path)
                    is not None
                ):
                    return (run, top + path) if run is not None else None
        return self.from_staged(commit, path)

    def from_staged(self, commit: Oid, path: bytes) -> tuple[Oid, bytes] | None:
        """Return where a file of a sysroot comes from that was composed for one of BitBake's tasks.

        What recipes staged is named by BitBake's own hashes. A native recipe stages its sysroot's
        path, too.
        """
        recipe = (task_of(self.store, commit) or "").partition(":")[0]
        multiconfig = recipe[: recipe.rindex(".") + 1] if recipe.startswith("mc.") else ""
        for line in (
            Records(self.store).text(commit, SYSROOT_OF).decode("utf-8", "replace").splitlines()
        ):
            name, _, task_hash = line.partition(" ")
            if not re.fullmatch(r"[\w.+-]+", name):  # the record may come from anywhere
                continue
            for run in self.store.refs.list(
                f"refs/tags/{multiconfig}{name}/do_populate_sysroot/"
            ).values():
                facts = Records(self.store).facts(run)
                if facts.get("bitbake-taskhash") != task_hash:
                    continue
                for top in ("", f"{facts.get('workdir', '')}/recipe-sysroot-native"):
                    place = os.fsencode(f"sysroot-destdir{top}/") + path
                    if self.at(run, place) is not None:
                        return run, place
        return None

    def tops(self, run: Oid) -> list[bytes]:
        """Return the folders that a task gives to others, each with a slash."""
        folders = Records(self.store).facts(run).get("outputdir", "")
        try:
            return [os.fsencode(text) + b"/" for text in shlex.split(folders)]
        except ValueError:  # which prov does not write
            return []

    def inputs(self, commit: Oid) -> Inputs | None:
        key = task_of(self.store, commit)
        inputs = read_run_record(self.store.objects, commit).task_hash
        if key is None or inputs is None:
            return None
        try:
            return read_inputs(self.store.objects, TaskKey(key), inputs)
        except StoreError:
            return None

    def outputs(self, commit: Oid) -> Iterator[tuple[str, TaskKey, OutputId]]:
        """Yield kind, task and output of all that a task took; outputs that are gone are left
        out.
        """
        inputs = self.inputs(commit)
        for (kind, key), at in inputs.edges.items() if inputs else ():
            # BitBake's edges stand at hashes, which are no objects
            if (
                kind != "after"
                and at
                and len(at) == 40
                and self.store.objects.exists(bytes.fromhex(at))
            ):
                yield kind, TaskKey(key), OutputId(bytes.fromhex(at))

    def run(self, key: TaskKey, output: OutputId) -> Oid | None:
        """Return the commit of a run that gave an output."""
        task_hash = self.producers.hash_of(key, output)
        return Records(self.store).last_run(key, task_hash)[1] if task_hash is not None else None

    # copies

    def copied_from(
        self, commit: Oid, path: bytes, node: FileNode
    ) -> tuple[str, tuple[Oid, bytes]] | None:
        """Return what a new file was copied from, in words, and where that is.

        Of an empty file, or a short one with another name, the same content is no sign of that.
        """
        if node.oid == EMPTY_BLOB:
            return None
        before = part_of(self.store, commit, "before")
        found = self.search(before, node.oid, path) if before else None
        if found is not None:
            place = self.task_or_start(commit, found)
            if place is not None:
                return _text(found), place
        for part in ("sysroot", "sysroot-native"):
            pair = part_of(self.store, commit, part)
            found = self.search(pair, node.oid, path) if pair else None
            place = self.from_sysroot(commit, found) if found is not None else None
            if found is not None and place is not None:
                return f"{part} {_text(found)}", place
        return self.in_what_it_took(commit, path, node)

    def in_what_it_took(
        self, commit: Oid, path: bytes, node: FileNode
    ) -> tuple[str, tuple[Oid, bytes]] | None:
        """Look for a content in the WORKDIRs of the tasks that a task took outputs of: a package is
        an archive.
        """
        level, seen = [commit], {commit}
        for _ in range(LEVELS):
            below = []
            for each in level:
                for _kind, key, output in self.outputs(each):
                    run = self.run(key, output)
                    if run is None or run in seen:
                        continue
                    seen.add(run)
                    below.append(run)
                    found = self.search(Records(self.store).workdir(run), node.oid, path)
                    if found is not None:
                        return f"{key}'s {_text(found)}", (run, found)
            level = below
        return None

    def search(self, pair: Pair, oid: Oid, like: bytes) -> bytes | None:
        """Return the path of a content in a tree, the one most like another path; None if it is not
        there.
        """
        found = self.paths_of(pair.tree, oid, b"")
        if found and self.store.objects.blob_size(oid) < SHORT:
            found = [path for path in found if path.rpartition(b"/")[2] == like.rpartition(b"/")[2]]
        return max(found, key=lambda path: _common_end(path, like), default=None)

    def paths_of(self, tree: Oid, oid: Oid, prefix: bytes) -> list[bytes]:
        if (tree, oid) in self._without or self._trees > MOST_TREES:
            return []
        self._trees += 1
        found = []
        for entry in self.store.objects.tree(tree):
            name = prefix + unescape_name(entry.name)
            if entry.mode == MODE_DIRECTORY:
                found += self.paths_of(entry.oid, oid, name + b"/")
            elif entry.oid == oid:
                found.append(name)
        if not found:
            self._without.add((tree, oid))
        return found

    def sources(self, commit: Oid) -> Iterator[tuple[str, str]]:
        """Yield the sources of a task's recipe: its own inputs', or those of the tasks that it goes
        back to.
        """
        pending, seen = [commit], {commit}
        while pending:
            each = pending.pop(0)
            inputs = self.inputs(each)
            own = (
                [(name, entry) for (kind, name), entry in inputs.own.items() if kind == "source"]
                if inputs
                else []
            )
            own = [(name, entry) for name, entry in own if not name.startswith("%")]
            if own:
                yield from ((name, self.source(entry)) for name, entry in own)
                return
            for next_ in self.own_before(each, inputs):
                if next_ not in seen:
                    seen.add(next_)
                    pending.append(next_)

    def own_before(self, commit: Oid, inputs: Inputs | None) -> Iterator[Oid]:
        """Yield the runs of the same recipe that a task goes back to."""
        recipe = inputs.key.recipe if inputs else ""
        for parent in self.store.objects.commit(commit).parents[:1]:
            if task_of(self.store, parent) is not None:
                yield parent
        for kind, key, output in self.outputs(commit):
            run = self.run(key, output) if kind == "from" and key.recipe == recipe else None
            if run is not None:
                yield run

    def source(self, entry: Entry) -> str:
        if entry.mode == MODE_DIRECTORY:
            return f"tree {entry.oid.hex()}"
        text = self.store.objects.blob(entry.oid)
        pinned = text.startswith((b"git ", b"sha256 ", b"md5 ")) and text.count(b"\n") == 1
        return text.decode("utf-8", "replace").strip() if pinned else f"blob {entry.oid.hex()}"


def line_origins(store: Store, found: Blame) -> list[str]:
    """Return, for each line of a file, the task that brought it, or the patch: `zlib:patch
    0001-fix.patch`.

    A line that a task's start already had, and whose task is not known, has an empty text.
    """
    tracer = _Tracer(store, Producers(store))
    versions = []
    for step in reversed(found.steps):
        node = tracer.at(step.commit, os.fsencode(step.path))
        if node is not None and not node.is_directory:
            versions.append((step, store.objects.blob(node.oid).decode("utf-8", "replace")))
    last = store.objects.blob(found.node.oid).decode("utf-8", "replace")
    blamed = blame_lines([*(text for _, text in versions), last])
    origins = []
    for line in blamed:
        known = line.version < len(versions)
        origins.append(_origin(tracer, versions[line.version][0], line.text) if known else "")
    return origins


def _origin(tracer: _Tracer, step: Step, line: str) -> str:
    added = b"+" + line.rstrip("\r\n").encode("utf-8", "surrogateescape")
    for name, text in reversed(
        tracer.patches(step.commit, os.fsencode(step.path)) if step.patches else []
    ):
        if added in text.splitlines():
            return f"{step.key} {name}"
    return step.key


def _changes(patch: bytes, path: bytes) -> bool:
    """Return whether a patch changes a path.

    How many leading folders its names have (`-p`) is not known here.
    """
    for line in patch.splitlines():
        if line.startswith((b"+++ ", b"--- ")):
            name = line[4:].split(b"\t")[0].strip()
            inside = name.partition(b"/")[2] or name
            if path == inside or path.endswith(b"/" + inside):
                return True
    return False


def _common_end(one: bytes, other: bytes) -> int:
    same = 0
    for first, second in zip(reversed(one.split(b"/")), reversed(other.split(b"/")), strict=False):
        if first != second:
            break
        same += 1
    return same


def _text(path: bytes) -> str:
    return os.fsdecode(path)
