"""Read what the recorded runs of recipes' tasks read, and the packages that they had."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prov.dependencies.findings import RecordedReads, SysrootPath
from prov.dependencies.providers import Provider
from prov.dependencies.usage import Item, NeededPackage, Places
from prov.errors import StoreError
from prov.history.names import RunName, runs
from prov.history.sysroot_packages import contribution
from prov.reads.buildfiles.collect import BuildFiles
from prov.reads.buildfiles.lookup import Subject
from prov.reads.namespace import Namespace
from prov.reads.reads import decode_reads
from prov.reads.recorded import Recorded
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.entries import READS
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import read_run_record, read_workdir
from prov.store.repository import Store
from prov.tasks.job import Taken
from prov.tasks.recorded import RecordedTask, read_task, taken_output, toolchain_tree
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
        return [self.read(run) for run in self._successful(key)[:NEWEST]]

    def _successful(self, key: TaskKey) -> list[RunName]:
        return [run for run in runs(self.store, key.recipe, key.task) if not run.failed]

    def read(self, run: RunName) -> RecordedReads:
        """Return what a run of a recipe's task read."""
        objects = self.store.objects
        record = read_run_record(objects, run.commit)
        data = record.text(objects, READS)
        places = read_places(record.facts(objects))
        task = read_task(self.store, run.key, run.commit)
        programs = dict(task.definition.programs)
        declared = task.definition.task["hosttools"]
        tools = {name: programs[name] for name in declared if name in programs}
        return RecordedReads(
            key=run.key,
            reads=decode_reads(data) if data else None,
            packages=tuple(self._packages(task, places)),
            tools=tools,
            tool_files=self._tool_files(task, tools) if places.is_sandboxed else {},
            places=places,
            is_isolated=places.is_sandboxed and not task.definition.task["network"],
        )

    def _tool_files(self, task: RecordedTask, tools: Mapping[str, str]) -> dict[str, str]:
        """Return the paths of host tools without symbolic links; none if they are not stored."""
        if not tools:
            return {}
        try:
            tree = Pair(toolchain_tree(self.store.objects, task), None)
        except StoreError:
            return {}
        names = Namespace(Recorded(self.store.objects, b"", tree))
        places = {name: names.find(b"/", os.fsencode(path)) for name, path in tools.items()}
        return {
            name: os.fsdecode(place.path) for name, place in places.items() if not place.is_missing
        }

    def _packages(self, task: RecordedTask, places: Places) -> Iterator[NeededPackage]:
        for (kind, key), output in task.outputs.items():
            if kind == "needs":
                taken = taken_output(task.definition, TaskKey(key), OutputId(output))
                yield NeededPackage(
                    taken.key, places_of(taken, places), self._contents(taken, places)
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

    def stated_lookups(
        self, keys: Sequence[TaskKey], *, is_native: bool
    ) -> dict[SysrootPath, list[str]]:
        """Return what configure scripts of a recipe's tasks looked for in vain, with evidence."""
        lookups: dict[SysrootPath, list[str]] = {}
        for key, files in self._build_files(keys):
            for path, texts in stated_lookups(key, files, is_native=is_native).items():
                lookups.setdefault(path, []).extend(texts)
        return lookups

    def _build_files(self, keys: Sequence[TaskKey]) -> Iterator[tuple[TaskKey, BuildFiles]]:
        """Yield the files of build tools after the last task in each WORKDIR, with that task."""
        newest = {}
        for key in keys:
            for run in self._successful(key)[:1]:
                newest[key] = read_task(self.store, key, run.commit)
        earlier = {before for task in newest.values() for before in task.definition.after}
        for key, task in newest.items():
            if key not in earlier and task.commit is not None:
                record = read_run_record(self.store.objects, task.commit)
                workdir = record.facts(self.store.objects).get("seen-workdir", "")
                tree = read_workdir(self.store.objects, task.commit).tree
                yield key, BuildFiles(self.store.objects, tree, workdir)

    def providers(self, keys: Iterable[TaskKey], native: frozenset[str]) -> Iterator[Provider]:
        """Yield the outputs of tasks; `native` are the recipes of the native sysroot."""
        for key in keys:
            pairs = tuple(owned.pair for owned in contribution(self.store, key).packages)
            yield Provider(key, key.recipe in native, pairs)


def places_of(taken: Taken, places: Places) -> tuple[str, ...]:
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


def stated_lookups(
    key: TaskKey, files: BuildFiles, *, is_native: bool
) -> dict[SysrootPath, list[str]]:
    """Return what configure scripts in a task's WORKDIR looked for in vain, with evidence.

    `is_native` states whether the recipe's libraries are in the native sysroot. Programs always
    are.
    """
    lookups: dict[SysrootPath, list[str]] = {}
    for own in files.lookups():
        if own.lookup.is_found:
            continue
        text = f"{key}: {own.file}: {own.lookup.subject} {own.lookup.name} not found"
        is_program = own.lookup.subject == Subject.PROGRAM
        for path in own.lookup.paths():
            lookups.setdefault((is_native or is_program, path), []).append(text)
    return lookups
