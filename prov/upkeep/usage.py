"""Report the disk usage of a store by recipe, task, kind, part or build.

Sizes are compressed bytes in packs. By recipe and task, an object that several of them hold counts
as shared. By kind, an object in an output counts as output, and only the remaining objects of a
WORKDIR count as WORKDIR: this is the space that deleting WORKDIRs frees. By part, the same objects
are separated further, by the entry of the record that holds them. By build, an object counts for
the first build that has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prov.records.build_list import BuildList, walk_builds
from prov.records.keys import TaskKey
from prov.records.refs import (
    BRANCHES,
    DEPLOYED,
    DEPLOYING,
    FAILED,
    LABELS,
    OUTPUTS,
    OWN,
    PINS,
    RECORDS,
    REFS,
    STATICS,
    TAGS,
    TOOLCHAINS,
    WORKDIRS,
    DirectoryRef,
    OutputRef,
    OutsideRef,
    RecordRef,
    RunRef,
    StaticRef,
    ToolchainRef,
    WorkdirRef,
    parse_ref,
)
from prov.store.objects import MODE_DIRECTORY, Oid
from prov.store.repository import Store
from prov.store.sweep import packed_sizes

By = Literal["recipe", "task", "kind", "part", "build"]
SHARED = "shared"
UNHELD = "held by no ref"
DEPLOY_REFS = (DEPLOYED, DEPLOYING)
KINDS = ("host tools", "outputs", "records", "WORKDIRs", "builds", "other")


@dataclass(frozen=True, slots=True)
class Usage:
    """Objects of one recipe, task, kind or build: their number and size in bytes."""

    name: str
    objects: int
    size: int


def usage(store: Store, by: By) -> list[Usage]:
    """Return usage rows, the largest first (by build: the newest first).

    The last rows are those of shared objects and of objects that no ref holds.
    """
    count = _Count(store, packed_sizes(store.objects))
    if by == "build":
        for build in reversed(list(walk_builds(BuildList.latest(store)))):
            for oid in _of_build(store, build):
                count.add(build.commit.hex()[:12], oid, first=True)
    elif by in ("kind", "part"):
        for kind, oid in sorted(_by_kind(store), key=lambda pair: KINDS.index(pair[0])):
            if by == "part" and kind == "records":
                _add_parts(count, store, oid)
            count.add(kind, oid, first=True)
    else:
        _add_owners(count, store, by)
    return count.rows(in_order=by == "build")


def _add_owners(count: _Count, store: Store, by: By) -> None:
    """Count the objects of each ref for its recipe or task."""
    refs = store.refs.list(REFS)
    deployed = [refs.pop(name) for name in DEPLOY_REFS if name in refs]
    for name, oid in refs.items():
        count.add(owner_of(name, by), oid)
    # last, because objects in a recipe's outputs count for the recipe
    for oid in deployed:
        count.add("deploy directory", oid, first=True)


def _add_parts(count: _Count, store: Store, record: Oid) -> None:
    """Count the objects of each entry of a record."""
    for entry in store.objects.tree(store.objects.commit(record).tree):
        count.add(f"records: {os.fsdecode(entry.name)}", entry.oid, first=True)


class _Count:
    def __init__(self, store: Store, sizes: dict[Oid, int]) -> None:
        self.objects, self.sizes = store.objects, sizes
        self.owners: dict[Oid, str] = {}

    def add(self, name: str, oid: Oid, *, first: bool = False) -> None:
        """Count all objects below an object for a name.

        An object counted before keeps its name with `first`, and otherwise becomes shared.
        """
        pending = [(oid, True)]
        while pending:
            current, has_parts = pending.pop()
            owner = self.owners.get(current)
            if owner is not None and (first or owner in (name, SHARED)):
                continue
            self.owners[current] = name if owner is None else SHARED
            if has_parts:
                pending += self._below(current)

    def _below(self, oid: Oid) -> Iterator[tuple[Oid, bool]]:
        """Yield the objects in a commit or tree, and whether each may hold more objects."""
        kind, _ = self.objects.read(oid)
        if kind == "commit":
            commit = self.objects.commit(oid)
            yield commit.tree, True
            yield from ((parent, True) for parent in commit.parents)
        elif kind == "tree":
            for entry in self.objects.tree(oid):
                yield entry.oid, entry.mode == MODE_DIRECTORY

    def rows(self, *, in_order: bool) -> list[Usage]:
        """Return a row for each owner: the last counted first, or the largest first."""
        totals: dict[str, tuple[int, int]] = {}
        for oid, size in self.sizes.items():
            owner = self.owners.get(oid, UNHELD)
            objects, total = totals.get(owner, (0, 0))
            totals[owner] = (objects + 1, total + size)
        rows = [Usage(name, objects, total) for name, (objects, total) in totals.items()]
        own = [row for row in rows if row.name not in (SHARED, UNHELD)]
        if in_order:
            in_order_of_count = dict.fromkeys(self.owners.values())
            places = {name: number for number, name in enumerate(in_order_of_count)}
            own.sort(key=lambda row: -places[row.name])
        else:
            own.sort(key=lambda row: -row.size)
        others = [row for name in (SHARED, UNHELD) for row in rows if row.name == name]
        return own + others


def owner_of(name: str, by: By) -> str:
    """Return the recipe or task of a ref, or a word for refs of neither."""
    match parse_ref(name):
        case ToolchainRef():
            return "host tools"
        case RunRef(key=key) | RecordRef(key=key) | OutputRef(key=key) | StaticRef(key=key):
            return key.recipe if by == "recipe" else key
        case OutsideRef(recipe=recipe, chain=chain) | WorkdirRef(recipe=recipe, chain=chain):
            return recipe if by == "recipe" else TaskKey.of(recipe, chain)
        case DirectoryRef(path_id=path_id):
            return path_id.hex()
    if name.startswith((BRANCHES, LABELS, PINS)):
        return "builds"
    parts = name.removeprefix(FAILED).removeprefix(TAGS).removeprefix(OWN).split("/")
    return parts[0] if by == "recipe" else ":".join(parts[:2])


def _by_kind(store: Store) -> Iterator[tuple[str, Oid]]:
    for name, oid in store.refs.list(REFS).items():
        if name.startswith(TOOLCHAINS):
            yield "host tools", oid
        elif name.startswith((OUTPUTS, STATICS, *DEPLOY_REFS)):
            yield "outputs", oid
        elif name.startswith(RECORDS):
            yield "records", oid
        elif name.startswith((TAGS, WORKDIRS)):
            parents = store.objects.commit(oid).parents
            yield from (("records", parent) for parent in parents[1:])
            yield "WORKDIRs", oid
        elif name.startswith((BRANCHES, LABELS, PINS)):
            yield "builds", oid
        else:
            yield "other", oid


def _of_build(store: Store, build: BuildList) -> Iterator[Oid]:
    """Yield the commit of a build, and the existing outputs and runs of its tasks."""
    for recipe in build.recipes():
        for key, line in build.lines(recipe).items():
            run = RunRef(key, line.task_hash, line.run)
            for ref in (OutputRef(key, line.task_hash), run):
                oid = store.refs.get(str(ref))
                if oid is not None:
                    yield oid
    yield build.commit
