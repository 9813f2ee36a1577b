"""Find where the contents of files were made, for many files at once.

A task made a content if it did not have it before: neither in the WORKDIR that it started with, nor
in its sysroots, nor in the WORKDIRs of the tasks from whose outputs it started, which may be
archives. An empty or short content occurs by chance, so it is followed only under its own file
name. prov replaces path tokens where an output is used, so a file has one content in the WORKDIR of
a task and may have a different one in the output; the path connects them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.records.entries import FROM, NEEDS
from prov.sbom.task_graph import GraphRun, TaskGraph, TaskId
from prov.store.objects import MODE_DIRECTORY, Entry, Oid, unescape_name
from prov.worktree.content_search import SHORT, common_end
from prov.worktree.pool import EMPTY_BLOB

LEVELS = 4
"""How many levels of inputs to search for a content that is in archives in between."""
Contents = Mapping[bytes, Oid]
"""Path in a WORKDIR -> content."""


class Origin(NamedTuple):
    """A file as the task that made its content wrote it."""

    task: TaskId
    path: bytes
    """Path in the task's WORKDIR."""
    oid: Oid
    is_start: bool = False
    """Whether no recorded task made it: it was in the directory in which the task started."""


class _Place(NamedTuple):
    """A file in the WORKDIR or the output of a run."""

    run: GraphRun
    path: bytes
    oid: Oid
    is_start: bool = False
    """Whether it was in the directory in which the run started, and in no output before."""


@dataclass(slots=True)
class Origins:
    """Finds origins, and caches them and the trees that it read."""

    graph: TaskGraph
    _trees: dict[Oid, dict[bytes, Entry]] = field(default_factory=dict)
    _indexes: dict[Oid, dict[Oid, list[bytes]]] = field(default_factory=dict)
    _origins: dict[tuple[TaskId, bytes], Origin] = field(default_factory=dict)

    def of(self, run: GraphRun, contents: Contents) -> dict[bytes, Origin]:
        """Return path -> origin, of files in the WORKDIR or the output of a run."""
        unknown = {
            path: oid for path, oid in contents.items() if (run.id, path) not in self._origins
        }
        workdir = self.graph.workdir(run).tree
        for path, oid in unknown.items():
            unknown[path] = self.blob_at(workdir, path) or oid
        copies = self._followed(self._inherited(run, unknown))
        for path, oid in unknown.items():
            self._origins[run.id, path] = copies.get(path) or Origin(run.id, path, oid)
        return {path: self._origins[run.id, path] for path in contents}

    def before(self, run: GraphRun, paths: Iterable[bytes]) -> dict[bytes, Origin]:
        """Return path -> origin, of the paths that were in the WORKDIR when a task started."""
        return self._followed(self._started_with(run, {path: path for path in paths}))

    def _followed(self, places: Mapping[bytes, _Place]) -> dict[bytes, Origin]:
        """Return the origins of files that are copies of those at other places."""
        by_task: dict[TaskId, dict[bytes, Oid]] = {}
        for place in places.values():
            if not place.is_start:
                by_task.setdefault(place.run.id, {})[place.path] = place.oid
        origins = {task: self.of(self.graph.run(task), own) for task, own in by_task.items()}
        return {
            path: Origin(place.run.id, place.path, place.oid, True)
            if place.is_start
            else origins[place.run.id][place.path]
            for path, place in places.items()
        }

    # one step back

    def _inherited(self, run: GraphRun, contents: Contents) -> dict[bytes, _Place]:
        """Return path -> the place in an input of a run from which a content came."""
        pending = dict(contents)
        taken, needed = self._inputs([run], FROM), self._inputs([run], NEEDS)
        places = _moved(pending, self._started_with(run, self._in_start(run, pending)))
        for inputs in (taken, needed):
            places |= _moved(pending, self._searched(inputs, pending))
        # an input fetched without its WORKDIR may be an archive
        for _ in range(LEVELS):
            if not pending or all(each.commit is not None for each in taken):
                break
            taken = self._inputs(taken, FROM)
            places |= _moved(pending, self._searched(taken, pending))
        return places

    def _in_start(self, run: GraphRun, contents: Contents) -> dict[bytes, bytes]:
        """Return path -> the path that a content had in the WORKDIR when a task started."""
        start = self.graph.start(run)
        if start is None:
            return {}
        same = {path: path for path, oid in contents.items() if self.blob_at(start, path) == oid}
        moved = {path: oid for path, oid in contents.items() if path not in same}
        index = self._index(start) if moved else {}
        return same | {
            path: place
            for path, oid in moved.items()
            if (place := self._most_similar(path, oid, index.get(oid, ()))) is not None
        }

    def _started_with(self, run: GraphRun, paths: Mapping[bytes, bytes]) -> dict[bytes, _Place]:
        """Return the places, in inputs of a run, of paths in the WORKDIR that it started with."""
        tops = [(each, self.graph.workdir(each).tree) for each in self._inputs([run], "after")] + [
            (each, self.graph.output(each).tree) for each in self._inputs([run], FROM)
        ]
        places: dict[bytes, _Place] = {}
        for each, top in tops:
            for path, place in paths.items():
                oid = self.blob_at(top, place)
                if oid is not None:
                    places.setdefault(path, _Place(each, place, oid))
        start = self.graph.start(run)
        if start is None:
            return places
        for path, place in paths.items():
            oid = self.blob_at(start, place)
            if oid is not None:
                places.setdefault(path, _Place(run, place, oid, is_start=True))
        return places

    def _inputs(self, runs: Sequence[GraphRun], kind: str) -> list[GraphRun]:
        return [
            self.graph.run(edge.task) for run in runs for edge in run.edges if edge.kind == kind
        ]

    def _searched(self, inputs: Sequence[GraphRun], contents: Contents) -> dict[bytes, _Place]:
        """Return the places of the contents that inputs have, at the most similar paths."""
        places: dict[bytes, _Place] = {}
        for run in inputs if contents else ():
            index = self._index(self.graph.workdir(run).tree)
            for path, oid in contents.items():
                known = [places[path].path] if path in places else []
                candidates = [*known, *index.get(oid, ())]
                best = self._most_similar(path, oid, candidates)
                if best is not None and best not in known:
                    places[path] = _Place(run, best, oid)
        return places

    def _most_similar(self, path: bytes, oid: Oid, candidates: Iterable[bytes]) -> bytes | None:
        """Return the likely origin of a path among paths with the same content, or None."""
        copies = [place for place in candidates if self._is_copy(oid, path, place)]
        return max(copies, key=lambda place: common_end(place, path), default=None)

    def _is_copy(self, oid: Oid, path: bytes, candidate: bytes) -> bool:
        """Return whether one of two paths with the same content is likely a copy of the other."""
        if os.path.basename(path) == os.path.basename(candidate):
            return True
        return oid != EMPTY_BLOB and self.graph.store.objects.blob_size(oid) >= SHORT

    # trees

    def blob_at(self, tree: Oid, path: bytes) -> Oid | None:
        """Return the content at a path in a tree, None if it is not a file."""
        *folders, name = path.split(b"/")
        for folder in folders:
            entry = self._entries(tree).get(folder)
            if entry is None or entry.mode != MODE_DIRECTORY:
                return None
            tree = entry.oid
        entry = self._entries(tree).get(name)
        return entry.oid if entry is not None and entry.mode != MODE_DIRECTORY else None

    def _entries(self, tree: Oid) -> dict[bytes, Entry]:
        if tree not in self._trees:
            entries = self.graph.store.objects.tree(tree)
            self._trees[tree] = {unescape_name(entry.name): entry for entry in entries}
        return self._trees[tree]

    def _index(self, top: Oid) -> dict[Oid, list[bytes]]:
        """Return content -> paths, of all files in a tree."""
        if top not in self._indexes:
            index: dict[Oid, list[bytes]] = {}
            pending = [(b"", top)]
            while pending:
                prefix, tree = pending.pop()
                for name, entry in self._entries(tree).items():
                    if entry.mode == MODE_DIRECTORY:
                        pending.append((prefix + name + b"/", entry.oid))
                    else:
                        index.setdefault(entry.oid, []).append(prefix + name)
            self._indexes[top] = index
        return self._indexes[top]


def _moved(pending: dict[bytes, Oid], places: dict[bytes, _Place]) -> dict[bytes, _Place]:
    """Remove the paths with a place from the pending ones, and return the places."""
    for path in places:
        del pending[path]
    return places
