"""Collect garbage: read a store's refs and builds, choose by the rules, and delete refs.

The tag of a run is deleted only if that frees its WORKDIR: a later run that stays may have the
WORKDIR in its history. The runs of `prov run` and `prov capture` in one directory share one
history, so they stay with the last one. Each deletion is logged before it happens.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from prov.errors import RefConflict, StoreError
from prov.files import try_locked
from prov.records.build_list import COMMANDS, BuildList
from prov.records.ids import TaskHash, TreeId
from prov.records.labels import labels_of, pinned
from prov.records.outcomes import Outcome
from prov.records.record import record_of
from prov.records.refs import (
    DIRECTORIES,
    REFS,
    TAGS,
    TOOLCHAINS,
    OutputRef,
    RunRef,
    ToolchainRef,
)
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import ancestors, packed_sizes, reachable
from prov.tasks.toolchain import Toolchains
from prov.upkeep.free_space import free_space
from prov.upkeep.pruned import Deletion, Pruned
from prov.upkeep.retention import (
    BY_SIZE,
    Extent,
    Inventory,
    KeptResults,
    RuleNames,
    choose,
    extent_of,
    without_gaps,
)
from prov.upkeep.rules import Rules

_ID = re.compile("[0-9a-f]{40}")


def plan_gc(store: Store, rules: Rules, *, now: float | None = None) -> list[Deletion]:
    """Return the refs to delete by these rules, sorted."""
    planner = _CollectionPlanner.of(store, time.time() if now is None else now)
    deletions = planner.by_age(rules, RuleNames.of(rules))
    if rules.size is None and rules.min_free is None:
        return deletions
    return planner.by_size(rules, deletions)


@dataclass(frozen=True, slots=True)
class _CollectionPlanner:
    """Plans collections of one store."""

    store: Store
    refs: Mapping[str, Oid]
    inventory: Inventory
    is_written: bool
    """Whether another process, perhaps a build, is writing to the store."""
    now: float

    @staticmethod
    def of(store: Store, now: float) -> _CollectionPlanner:
        # List refs first: a build that wrote one of them is either still running or in the history
        # read below.
        refs = store.refs.list(REFS)
        inventory = Inventory.of(refs, lambda oid: _seconds(store, oid))
        with try_locked(store.objects.lease) as alone:
            return _CollectionPlanner(store, refs, inventory, not alone, now)

    def by_age(self, rules: Rules, names: RuleNames) -> list[Deletion]:
        """Return the deletions by builds, days and WORKDIRs."""
        kept = _kept_by_builds(self.store, rules, self.now)
        kept.add_unlisted(self.inventory)
        if self.is_written:
            kept.add_newest(self.inventory)
        deletions = choose(self.inventory, kept, rules, names, self.now)
        outputs = kept.outputs | self.inventory.recent(rules.young_from(self.now))
        deletions += self._toolchains(outputs, names.builds)
        deletions += self._directories(deletions, names.workdirs)
        return sorted(self._that_free(deletions), key=lambda deletion: deletion.ref)

    def by_size(self, rules: Rules, deletions: list[Deletion]) -> list[Deletion]:
        """Return the deletions after which the rest fits; `deletions` are those by age.

        It keeps as many builds as fit, and always the last one.
        """
        sizes = packed_sizes(self.store.objects)
        size = _size_limit(self.store, rules, sum(sizes.values()))

        def fits(deletions: list[Deletion]) -> bool:
            return sum(sizes.get(oid, 0) for oid in held_after(self.store, deletions)) <= size

        if fits(deletions):
            return deletions
        fewest = replace(rules, builds=1, days=0.0, workdirs=0)
        best: list[Deletion] | None = None
        low, high = 1, rules.builds + 1
        while low < high:  # find the number of builds that can keep their outputs
            middle = (low + high) // 2
            fewer = replace(fewest, builds=middle, workdirs=min(middle, rules.workdirs))
            trial = self.by_age(fewer, BY_SIZE)
            if fits(trial):
                low, best = middle + 1, trial
            else:
                high = middle
        return best if best is not None else self.by_age(fewest, BY_SIZE)

    def _that_free(self, deletions: list[Deletion]) -> list[Deletion]:
        """Return the deletions without tags of runs in the history of a remaining ref."""
        tags = [deletion for deletion in deletions if deletion.ref.startswith(TAGS)]
        if not tags:
            return deletions
        deleted = {deletion.ref for deletion in deletions}
        roots = {oid for name, oid in self.refs.items() if name not in deleted}
        roots |= set(_records(self.store, deletions))
        alive = ancestors(self.store.path, roots)
        staying = {tag.ref for tag in tags if tag.oid in alive}
        freeing = [deletion for deletion in deletions if deletion.ref not in staying]
        return list(without_gaps(freeing, staying))

    def _directories(self, deletions: Iterable[Deletion], rule: str) -> list[Deletion]:
        """Return the deletions of directories' last states whose run is deleted.

        The next capture of such a directory starts a new history.
        """
        runs = {deletion.oid for deletion in deletions if deletion.ref.startswith(TAGS)}
        return [
            Deletion(name, oid, rule)
            for name, oid in self.refs.items()
            if name.startswith(DIRECTORIES) and not runs.isdisjoint(self._last_two(oid))
        ]

    def _last_two(self, oid: Oid) -> tuple[Oid, ...]:
        """Return a directory's last state and the one before: changes after a run have a commit."""
        return oid, *self.store.objects.commit(oid).parents[:1]

    def _toolchains(self, outputs: Iterable[OutputRef], rule: str) -> Iterator[Deletion]:
        """Yield the deletions of toolchains that no remaining output was built with."""
        refs = {name: oid for name, oid in self.refs.items() if name.startswith(TOOLCHAINS)}
        if len(refs) < 2:
            return
        used = set(_used_toolchains(self.store, outputs))
        # plans use these, even if no remaining output was built with them
        used |= {
            str(ToolchainRef(TreeId(tree))) for tree in Toolchains(self.store, "").remembered()
        }
        for name, oid in refs.items():
            if name not in used:
                yield Deletion(name, oid, rule)


def _size_limit(store: Store, rules: Rules, total: int) -> float:
    """Return the maximum size of the objects that stay, of `total` bytes of objects now."""
    limits: list[float] = [] if rules.size is None else [rules.size]
    if rules.min_free is not None:
        missing = rules.min_free - free_space(store.path)
        limits.append(total - missing if missing > 0 else math.inf)
    return min(limits)


def _kept_by_builds(store: Store, rules: Rules, now: float) -> KeptResults:
    """Return the results that the history of builds keeps."""
    kept = KeptResults()
    pins, labels = pinned(store), labels_of(store)
    visited: set[tuple[str, Oid, Extent]] = set()
    build, position = BuildList.latest(store), 0
    while build is not None:
        seconds = _seconds(store, build.commit)
        facts = build.facts()
        # a build of commands has the label by which it grows, which is not a wish to keep it
        named = {label for label in labels.get(build.commit, ()) if label != facts.get("label")}
        is_pinned = build.commit in pins or bool(named)
        extent = extent_of(position, seconds, rules, now, pinned=is_pinned)
        for recipe, oid in build.listed():
            # most builds share most lists with their predecessor
            if (recipe, oid, extent) not in visited:
                visited.add((recipe, oid, extent))
                _keep_lines(kept, build, recipe, extent, facts.get("builder") == COMMANDS)
        if extent.workdirs:
            _keep_failed(kept, build)
        is_single = facts.get("label") == ""
        build = build.before()
        position += 0 if is_single else 1
    return kept


def _keep_lines(
    kept: KeptResults, build: BuildList, recipe: str, extent: Extent, of_commands: bool
) -> None:
    for key, line in build.lines(recipe).items():
        is_last = key not in kept.listed
        if extent.outputs or is_last:
            kept.outputs.add(OutputRef(key, line.task_hash))
        # the WORKDIR of a command is its result
        if extent.workdirs or (is_last and of_commands):
            kept.runs.add(RunRef(key, line.task_hash, line.run))
        kept.listed.add(key)


def _keep_failed(kept: KeptResults, build: BuildList) -> None:
    for key, text in build.happened().items():
        outcome, _, task_hash = text.partition(" ")
        if outcome == Outcome.FAILED and _ID.fullmatch(task_hash):
            failed = RunRef(key, TaskHash(bytes.fromhex(task_hash)), 1, failed=True)
            kept.failed.add(failed)


def _used_toolchains(store: Store, outputs: Iterable[OutputRef]) -> Iterator[str]:
    """Yield the refs of the toolchains in the inputs of some task hashes."""
    for output in outputs:
        try:
            entry = store.objects.entry(output.task_hash, "host-toolchain")
        except StoreError:  # fetched without its inputs
            continue
        if entry is not None:
            text = store.objects.blob(entry.oid).decode("utf-8", "replace").strip()
            yield TOOLCHAINS + text


def _seconds(store: Store, oid: Oid) -> int:
    return store.objects.commit(oid).author.seconds


def _records(store: Store, deletions: Iterable[Deletion]) -> list[Oid]:
    """Return the records that remain after these deletions."""
    return [record_of(store.objects, row.oid) for row in deletions if row.record]


def held_after(store: Store, deletions: Iterable[Deletion]) -> set[Oid]:
    """Return the ids of all objects that refs hold after these deletions."""
    deletions = list(deletions)
    refs = store.refs.list(REFS)
    for deletion in deletions:
        refs.pop(deletion.ref, None)
    return reachable(store.path, [*refs.values(), *_records(store, deletions)])


def prune(store: Store, deletions: list[Deletion], *, now: float | None = None) -> None:
    """Delete refs in one transaction, which also creates the refs of remaining records.

    The state of a directory that was recorded meanwhile stays. Raises RefConflict, and deletes
    nothing, if another ref changed.
    """
    while deletions:
        Pruned(store).add(deletions, time.time() if now is None else now)
        updates = [RefUpdate(row.ref, None, row.oid) for row in deletions]
        updates += [
            RefUpdate(row.record, record_of(store.objects, row.oid))
            for row in deletions
            if row.record
        ]
        try:
            store.refs.update(*updates)
        except RefConflict:
            unmoved = [row for row in deletions if not _has_moved(store, row)]
            if len(unmoved) == len(deletions):
                raise
            deletions = unmoved
            continue
        store.refs.pack(at_once=True)
        return


def _has_moved(store: Store, deletion: Deletion) -> bool:
    """Return whether a directory has a newer state than the one to delete."""
    is_directory = deletion.ref.startswith(DIRECTORIES)
    return is_directory and store.refs.get(deletion.ref) != deletion.oid


def remove_unlinked(folder: Path, *, older_than: float) -> tuple[int, int]:
    """Delete a pool's files without links; return their number and bytes.

    Files written or linked since `older_than` (seconds since the epoch) stay. The store can make
    the others again.
    """
    count = size = 0
    for path in folder.glob("??/*"):
        try:
            state = path.lstat()
            if state.st_nlink == 1 and state.st_ctime < older_than:
                path.unlink()
                count, size = count + 1, size + state.st_size
        except FileNotFoundError:
            continue
    return count, size
