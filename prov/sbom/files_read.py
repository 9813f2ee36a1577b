"""Find the recorded files that a task read, from its list of reads and from depfiles.

Only files from other tasks count: those that were in the WORKDIR when the task started, and those
in its sysroots. Files of the host belong to the toolchain, which is an input as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prov.dependencies.recorded import places_of, read_places
from prov.dependencies.usage import NOWHERE, Places
from prov.reads.buildfiles.units import WorkdirUnits
from prov.reads.reads import COMPLETE, Reads, incomplete
from prov.records.entries import NEEDS
from prov.sbom.origins import Origin, Origins
from prov.sbom.task_graph import GraphRun, TaskGraph, TaskId
from prov.store.objects import Oid
from prov.tasks.recorded import taken_output

READ = frozenset("ox")
"""Kinds of reads that mean that a file's content was used: opened or executed."""
WRITTEN = "w"
NO_LIST = "no list of reads is recorded"
NO_WORKDIR = incomplete("its WORKDIR is not in this store")


@dataclass(frozen=True, slots=True)
class FilesRead:
    """The files from other tasks that a task read."""

    origins: tuple[Origin, ...]
    problem: str = ""
    """Why files may be missing; empty if the list is complete."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """A folder of another task's output, and where a task saw it."""

    run: GraphRun
    top: bytes
    """The folder in the WORKDIR of the other task."""
    places: tuple[str, ...]


@dataclass(slots=True)
class FilesReader:
    """Finds what tasks read."""

    graph: TaskGraph
    origins: Origins
    _staged: dict[TaskId, list[_Staged]] = field(default_factory=dict)
    _units: dict[TaskId, WorkdirUnits] = field(default_factory=dict)

    def of_task(self, run: GraphRun) -> FilesRead:
        """Return the files that a task read."""
        reads = self.graph.reads(run)
        if reads is None:
            return FilesRead((), NO_LIST)
        paths = list(_paths_in(reads))
        return FilesRead(self._origins_of(run, paths), self._problem(run, reads, paths))

    def _problem(self, run: GraphRun, reads: Reads, paths: Iterable[str]) -> str:
        """Return why files may be missing in what `of_task` returns."""
        if reads.opens != COMPLETE:
            return reads.opens
        if run.commit is None:
            return NO_WORKDIR
        places = _places(run)
        for path in paths:
            # such as a file that a postinst script made
            if places.inside(path) and not any(self._in_sysroots(run, path)):
                return incomplete(f"{path} is in no recorded output")
        return ""

    def of_file(self, origin: Origin) -> tuple[Origin, ...]:
        """Return the files that depfiles state for a file that a task made; empty if none do."""
        run = self.graph.run(origin.task)
        if run.commit is None:
            return ()
        if run.id not in self._units:
            self._units[run.id] = WorkdirUnits(self.graph.store, run.commit)
        units = self._units[run.id].of(os.fsdecode(origin.path), origin.oid)
        paths = {name for unit in units for name in unit.read}
        return self._origins_of(run, paths) if paths else ()

    def _origins_of(self, run: GraphRun, paths: Iterable[str]) -> tuple[Origin, ...]:
        """Return the origins of paths as a task saw them."""
        workdir = run.facts.get("seen-workdir") or run.facts.get("workdir", "")
        own: list[bytes] = []
        by_task: dict[TaskId, dict[bytes, Oid]] = {}
        for path in paths:
            inside = path.removeprefix(f"{workdir}/") if workdir else path
            if not inside.startswith(("/", "../")):
                own.append(os.fsencode(inside))
                continue
            for staged, oid, place in self._in_sysroots(run, path):
                by_task.setdefault(staged.run.id, {})[place] = oid
        origins = set(self.origins.before(run, own).values())
        for task, contents in by_task.items():
            origins.update(self.origins.of(self.graph.run(task), contents).values())
        return tuple(sorted(origins))

    def _in_sysroots(self, run: GraphRun, path: str) -> Iterator[tuple[_Staged, Oid, bytes]]:
        """Yield the files of other tasks' outputs at a path in the sysroots."""
        for staged in self._staged_for(run):
            for place in staged.places:
                if not path.startswith(f"{place}/"):
                    continue
                inside = staged.top + b"/" + os.fsencode(path.removeprefix(f"{place}/"))
                oid = self.origins.blob_at(self.graph.output(staged.run).tree, inside)
                if oid is not None:
                    yield staged, oid, inside

    def _staged_for(self, run: GraphRun) -> list[_Staged]:
        if run.id not in self._staged:
            self._staged[run.id] = list(self._read_staged(run))
        return self._staged[run.id]

    def _read_staged(self, run: GraphRun) -> Iterator[_Staged]:
        definition = self.graph.definition(run)
        if definition is None:
            return
        places = _places(run)
        for edge in run.edges:
            if edge.kind != NEEDS or edge.output is None:
                continue
            taken = taken_output(definition, edge.task.key, edge.output)
            for top in taken.paths:
                yield _Staged(self.graph.run(edge.task), top, places_of(taken, places))


def _places(run: GraphRun) -> Places:
    """Return where a recipe's task saw its sysroots; nowhere for other tasks."""
    if run.record is None or not run.record.is_recipes:
        return NOWHERE
    return read_places(run.facts)


def _paths_in(reads: Reads) -> Iterator[str]:
    """Yield the paths that a task opened or executed, and did not write itself before."""
    for row in reads.rows:
        if READ.intersection(row.kinds) and WRITTEN not in row.kinds:
            yield row.path
