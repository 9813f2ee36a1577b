"""Find the sources and headers read to make a file, by compilation unit.

The depfiles in the WORKDIR of the task state what each object was made of. The symbol table of a
program, or the members of an archive, name the objects in it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from prov.reads.buildfiles.collect import BuildFiles, Unit
from prov.reads.buildfiles.object_files import member_names, source_names
from prov.records.ids import CommitId
from prov.records.record import read_run_record, read_workdir
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.attributes import at_path


def units_of(store: Store, commit: CommitId, path: str) -> tuple[Unit, ...]:
    """Return the compilation units in a file of a task's WORKDIR; empty if nothing states them."""
    objects = store.objects
    node = at_path(objects, read_workdir(objects, commit), os.fsencode(path))
    if node is None or node.is_directory:
        return ()
    return WorkdirUnits(store, commit).of(path, node.oid)


@dataclass(slots=True)
class WorkdirUnits:
    """The compilation units in the WORKDIR of a task. Its depfiles are read once."""

    store: Store
    commit: CommitId
    _units: list[Unit] | None = None

    def of(self, path: str, oid: Oid) -> tuple[Unit, ...]:
        """Return the units in a file with this path and content; empty if nothing states them."""
        data = self.store.objects.blob(oid)
        sources, members = source_names(data), member_names(data)
        if not sources and not members:
            return ()  # neither an object, a program nor an archive
        units = self._stated()
        own = [unit for unit in units if unit.made == path]
        return tuple(own) or _linked(units, path, sources, members)

    def _stated(self) -> list[Unit]:
        if self._units is None:
            objects = self.store.objects
            facts = read_run_record(objects, self.commit).facts(objects)
            place = facts.get("seen-workdir") or facts.get("workdir", "")
            tree = read_workdir(objects, self.commit).tree
            self._units = list(BuildFiles(objects, tree, place).units())
        return self._units


def _linked(
    units: Iterable[Unit], path: str, sources: frozenset[str], members: frozenset[str]
) -> tuple[Unit, ...]:
    """Return the units of the objects in a program or an archive.

    Symbol tables and archives contain names without folders. Of several units with one name, those
    in the folders nearest to the file are returned.
    """
    by_name: dict[str, list[Unit]] = {}
    for unit in units:
        source = posixpath.basename(unit.source)
        made = posixpath.basename(unit.made)
        name = source if source in sources else made
        if name in sources or name in members:
            by_name.setdefault(name, []).append(unit)
    nearest = []
    for alike in by_name.values():
        best = max(_shared(unit.made, path) for unit in alike)
        nearest += [unit for unit in alike if _shared(unit.made, path) == best]
    return tuple(sorted(set(nearest), key=lambda unit: (unit.source, unit.made)))


def _shared(one: str, other: str) -> int:
    """Return the number of leading folders that two paths share."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
