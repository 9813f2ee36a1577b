"""Where the bytes of a store are: by recipe, task, kind or build, and what is shared.

Bytes are those in the packs, compressed. An object that two recipes' refs hold is nobody's own: it
is counted as shared. By kind, one that an output holds is the output's, and what a WORKDIR has
beyond that is the WORKDIR's: that much is freed when it goes. By build, an object is counted where
it first came up.
"""

from __future__ import annotations

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

By = Literal["recipe", "task", "kind", "build"]
SHARED = "shared"
NOBODY = "held by no ref"
DEPLOY_REFS = (DEPLOYED, DEPLOYING)
KINDS = ("host tools", "outputs", "records", "WORKDIRs", "builds", "other")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one recipe, task, kind or build takes: how many objects are its own, and their bytes."""

    name: str
    objects: int
    size: int


def usage(store: Store, by: By) -> list[Usage]:
    """Return rows, the largest first (builds: the newest first).

    The last rows are those of objects that are shared, and of those that no ref holds.
    """
    count = _Count(store, packed_sizes(store.objects))
    if by == "build":
        for build in reversed(list(walk_builds(BuildList.latest(store)))):
            for oid in _of_build(store, build):
                count.add(build.commit.hex()[:12], oid, first=True)
    elif by == "kind":
        for kind, oid in sorted(_by_kind(store), key=lambda pair: KINDS.index(pair[0])):
            count.add(kind, oid, first=True)
    else:
        _add_owners(count, store, by)
    return count.rows(in_order=by == "build")


def _add_owners(count: _Count, store: Store, by: By) -> None:
    """Count what each ref holds for the recipe or task that it belongs to."""
    refs = store.refs.list(REFS)
    deployed = [refs.pop(name) for name in DEPLOY_REFS if name in refs]
    for name, oid in refs.items():
        count.add(owner_of(name, by), oid)
    # last, since what a recipe's outputs hold is the recipe's
    for oid in deployed:
        count.add("deploy directory", oid, first=True)


class _Count:
    def __init__(self, store: Store, sizes: dict[Oid, int]) -> None:
        self.objects, self.sizes = store.objects, sizes
        self.owners: dict[Oid, str] = {}

    def add(self, name: str, oid: Oid, *, first: bool = False) -> None:
        """Count all that an object holds for a name: `first` come, first served, or else as
        shared.
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
        """Yield what a commit or tree holds, and whether that holds more."""
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
            owner = self.owners.get(oid, NOBODY)
            objects, total = totals.get(owner, (0, 0))
            totals[owner] = (objects + 1, total + size)
        rows = [Usage(name, objects, total) for name, (objects, total) in totals.items()]
        own = [row for row in rows if row.name not in (SHARED, NOBODY)]
        if in_order:
            in_order_of_count = dict.fromkeys(self.owners.values())
            places = {name: number for number, name in enumerate(in_order_of_count)}
            own.sort(key=lambda row: -places[row.name])
        else:
            own.sort(key=lambda row: -row.size)
        others = [row for name in (SHARED, NOBODY) for row in rows if row.name == name]
        return own + others


def owner_of(name: str, by: By) -> str:
    """Return the recipe or task that a ref belongs to, or a word for what belongs to none."""
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
    """Yield the build, and the outputs and runs that are there of its tasks."""
    for recipe in build.recipes():
        for key, line in build.lines(recipe).items():
            run = RunRef(key, line.task_hash, line.run)
            for ref in (OutputRef(key, line.task_hash), run):
                oid = store.refs.get(str(ref))
                if oid is not None:
                    yield oid
    yield build.commit
