"""Read what the recorded runs of recipes' tasks read, and the packages that they had."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prov.dependencies.findings import RecordedReads
from prov.dependencies.providers import Provider
from prov.dependencies.usage import Item, NeededPackage, Places
from prov.history.names import RunName, runs
from prov.history.sysroot_packages import contribution
from prov.reads.reads import decode_reads
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.entries import READS
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.store.repository import Store
from prov.tasks.job import Taken
from prov.tasks.recorded import RecordedTask, read_task, taken_output
from prov.tasks.sandbox import DIRECT, HOSTTOOLS, SYSROOTS
from prov.worktree.attributes import FileNode, Pair, at_path, walk
from prov.worktree.path_tokens import NOWHERE, TokenPaths, relocate

NEWEST = 20
"""Number of runs of a task to read, from the newest."""
_Items = Mapping[str, Item]


def read_places(facts: Mapping[str, str]) -> Places:
    """Return the places in the facts of a record."""
    workdir = facts.get("seen-workdir", "")
    is_sandboxed = facts.get("sandbox") == "bwrap"
    places = {}
    for folder, seen in SYSROOTS.items():
        own = f"{workdir}/{folder}"
        places[folder] = (seen, own) if is_sandboxed else (own,)
    return Places(places[SYSROOT], places[SYSROOT_NATIVE], is_sandboxed)


@dataclass(slots=True)
class ReadsReader:
    """Reads runs of tasks, and each package only once."""

    store: Store
    _items: dict[tuple[OutputId, tuple[bytes, ...], Places], _Items] = field(default_factory=dict)

    def runs(self, key: TaskKey) -> list[RecordedReads]:
        """Return the newest successful runs of a recipe's task, the newest first."""
        listed = [run for run in runs(self.store, key.recipe, key.task) if not run.failed]
        return [self._read(run) for run in listed[:NEWEST]]

    def _read(self, run: RunName) -> RecordedReads:
        objects = self.store.objects
        record = read_run_record(objects, run.commit)
        data = record.text(objects, READS)
        places = read_places(record.facts(objects))
        task = read_task(self.store, run.key, run.commit)
        programs = dict(task.definition.programs)
        tools = task.definition.task["hosttools"]
        return RecordedReads(
            key=run.key,
            reads=decode_reads(data) if data else None,
            packages=tuple(self._packages(task, places)),
            tools={name: programs[name] for name in tools if name in programs},
            places=places,
        )

    def _packages(self, task: RecordedTask, places: Places) -> Iterator[NeededPackage]:
        for (kind, key), output in task.outputs.items():
            if kind == "needs":
                taken = taken_output(task.definition, TaskKey(key), OutputId(output))
                yield NeededPackage(
                    taken.key, _places_of(taken, places), self._contents(taken, places)
                )

    def _contents(self, taken: Taken, places: Places) -> _Items:
        name = (taken.output, taken.paths, places)
        if name not in self._items:
            whole = read_pair(self.store.objects, taken.output)
            nodes = (at_path(self.store.objects, whole, path) for path in taken.paths)
            pairs = [node.pair for node in nodes if node is not None]
            self._items[name] = self.items(pairs, places)
        return self._items[name]

    def items(self, pairs: Iterable[Pair], places: Places) -> _Items:
        """Return the entries of recorded folders, by their paths."""
        return {
            os.fsdecode(path): self._item(node, places)
            for pair in pairs
            for path, node in walk(self.store.objects, pair)
        }

    def _item(self, node: FileNode, places: Places) -> Item:
        if not stat.S_ISLNK(node.mode):
            return Item(node.is_directory)
        target = self.store.objects.blob(node.oid)
        if node.fixme:
            target = relocate(target, node.fixme, _token_paths(places))
        return Item(target=os.fsdecode(target))

    def providers(self, keys: Iterable[TaskKey], native: frozenset[str]) -> Iterator[Provider]:
        """Yield the outputs of tasks; `native` are the recipes of the native sysroot."""
        for key in keys:
            pairs = tuple(owned.pair for owned in contribution(self.store, key).packages)
            yield Provider(key, key.recipe in native, pairs)


def _places_of(taken: Taken, places: Places) -> tuple[str, ...]:
    """Return where a task saw a package; empty if the record does not contain the place."""
    if taken.direct:
        return (f"{DIRECT}/{taken.key.recipe}",) if places.is_sandboxed else ()
    return places.native if taken.native else places.target


def _token_paths(places: Places) -> TokenPaths:
    paths = {
        b"W": NOWHERE,
        b"S": os.fsencode(places.target[0]),
        b"N": os.fsencode(places.native[0]),
        b"H": os.fsencode(HOSTTOOLS),
    }
    return TokenPaths(paths)
