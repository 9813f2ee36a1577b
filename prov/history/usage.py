"""Where the bytes of a store are: by recipe, task, kind or build, and what is shared.

Bytes are those in the packs, compressed. An object that two recipes' refs hold is nobody's own: it
is counted as shared. By kind, one that an output holds is the output's, and what a WORKDIR has
beyond that is the WORKDIR's: that much is freed when it goes. By build, an object is counted where
it first came up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from prov.history.builds import walk_builds
from prov.records.build_list import BuildList
from prov.records.refs import DEPLOYED, DEPLOYING, OutputRef, RunRef
from prov.store.objects import MODE_DIRECTORY, Oid
from prov.store.repository import Store
from prov.store.sweep import packed_sizes

By = Literal["recipe", "task", "kind", "build"]
SHARED = "shared"
NOBODY = "held by no ref"
DEPLOY_REFS = (DEPLOYED, DEPLOYING)
KINDS = ("host tools", "outputs", "records", "WORKDIRs", "builds", "other")


@dataclass(frozen=True, slots=True)
class Row:
    """One recipe, task, kind or build: how many objects are its own, and their bytes."""

    name: str
    objects: int
    size: int


def usage(store: Store, by: By) -> list[Row]:
    """Return rows, the largest first (builds: the newest first), then what is shared and what no
    ref holds.
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
        refs = store.refs.list("refs/")
        deployed = {name: refs.pop(name) for name in DEPLOY_REFS if name in refs}
        for name, oid in refs.items():
            count.add(_owner(name, by), oid)
        for oid in deployed.values():  # what a recipe's outputs hold is the recipe's
            count.add("deploy directory", oid, first=True)
    return count.rows(in_order=by == "build")


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
            each, is_tree = pending.pop()
            owner = self.owners.get(each)
            if owner is not None and (first or owner in (name, SHARED)):
                continue
            self.owners[each] = name if owner is None else SHARED
            if is_tree:
                pending += self._below(each)

    def _below(self, oid: Oid) -> Iterator[tuple[Oid, bool]]:
        kind, _ = self.objects.read(oid)
        if kind == "commit":
            commit = self.objects.commit(oid)
            yield commit.tree, True
            yield from ((parent, True) for parent in commit.parents)
        elif kind == "tree":
            yield from (
                (entry.oid, entry.mode == MODE_DIRECTORY) for entry in self.objects.tree(oid)
            )

    def rows(self, *, in_order: bool) -> list[Row]:
        found: dict[str, list[int]] = {}
        for oid, size in self.sizes.items():
            row = found.setdefault(self.owners.get(oid, NOBODY), [0, 0])
            row[0] += 1
            row[1] += size
        last = [found.pop(name, None) for name in (SHARED, NOBODY)]
        names = (
            reversed(dict.fromkeys(self.owners.values()))
            if in_order
            else sorted(found, key=lambda n: -found[n][1])
        )
        rows = [Row(name, *found[name]) for name in names if name in found]
        return rows + [
            Row(name, *row) for name, row in zip((SHARED, NOBODY), last, strict=True) if row
        ]


def _owner(ref: str, by: By) -> str:
    parts = (
        ref.removeprefix("refs/tags/failed/")
        .removeprefix("refs/tags/")
        .removeprefix("refs/prov/")
        .split("/")
    )
    if parts[0] == "toolchain":
        return "host tools"
    if parts[0] in ("refs", "label", "pin"):
        return "builds"
    if parts[0] in ("outside", "workdir"):  # the architecture comes first
        return parts[2] if by == "recipe" else f"{parts[2]}:{parts[3]}"
    if parts[0] in ("output", "static", "record"):
        parts = parts[1:]
    return parts[0] if by == "recipe" else ":".join(parts[:2])


def _by_kind(store: Store) -> Iterator[tuple[str, Oid]]:
    for name, oid in store.refs.list("refs/").items():
        if name.startswith("refs/prov/toolchain/"):
            yield "host tools", oid
        elif name.startswith(("refs/prov/output/", "refs/prov/static/", *DEPLOY_REFS)):
            yield "outputs", oid
        elif name.startswith("refs/prov/record/"):
            yield "records", oid
        elif name.startswith(("refs/tags/", "refs/prov/workdir/")):
            parents = store.objects.commit(oid).parents
            yield from (("records", parent) for parent in parents[1:])
            yield "WORKDIRs", oid
        elif name.startswith(("refs/heads/", "refs/prov/label/", "refs/prov/pin/")):
            yield "builds", oid
        else:
            yield "other", oid


def _of_build(store: Store, build: BuildList) -> Iterable[Oid]:
    """Yield the build, and the outputs and runs that are there of its tasks."""
    for recipe in build.recipes():
        for key, line in build.lines(recipe).items():
            for ref in (
                str(OutputRef(key, line.task_hash)),
                f"{RunRef(key, line.task_hash, 1).prefix}/{line.run}",
            ):
                oid = store.refs.get(ref)
                if oid is not None:
                    yield oid
    yield build.commit
