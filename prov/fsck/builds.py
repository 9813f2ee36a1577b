"""The history of builds: is every list in it one, is the chain whole, and how it goes on where it
is not.

A build's commit names the one before it, so that where one is lost all later ones must be written
anew: with the same lists, author and message, on the nearest build before that is left. Labels and
pins go with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from prov.errors import StoreError
from prov.fsck.findings import Problem
from prov.fsck.reach import Reach
from prov.records.build_list import BuildList, decode_tasks
from prov.records.ids import CommitId
from prov.records.refs import BUILDS, LABELS, PINS
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, Entry, Oid
from prov.store.odb import ObjectDatabase, ObjectWriter
from prov.store.repository import Store

REWRITE = "the builds are written anew without what is not as it should be"


@dataclass(slots=True)
class BuildChecker:
    """Checks builds, each list of a recipe once."""

    store: Store
    _lists: set[tuple[str, Oid]] = field(default_factory=set)

    def check(self, refs: Mapping[str, Oid]) -> Iterator[Problem]:
        """Yield the builds whose lists are none, of all that these refs hold."""
        for commit in chain(self.store.objects, refs):
            wrong = self.wrong(commit)
            if wrong:
                yield Problem("build", commit.hex(), wrong, (BUILDS,), REWRITE)

    def wrong(self, commit: Oid) -> str:
        """Return what is wrong with a build all of whose objects are there."""
        build = BuildList(self.store, CommitId(commit))
        try:
            names = {
                entry.name
                for entry in self.store.objects.tree(self.store.objects.commit(commit).tree)
            }
            if not {b"build", b"tasks"} <= names:
                return "is no build, but in the history of builds"
            for recipe, oid in build.listed():
                if (recipe, oid) not in self._lists:
                    decode_tasks(recipe, self.store.objects.blob(oid))
                    self._lists.add((recipe, oid))
            build.timeline()
            build.happened()
        except (StoreError, ValueError) as error:
            return f"a list of it is none: {error}"
        return ""


def build_refs(refs: Mapping[str, Oid]) -> dict[str, Oid]:
    """Return the refs of builds, labels and pins."""
    return {
        name: oid for name, oid in refs.items() if name == BUILDS or name.startswith((LABELS, PINS))
    }


def chain(objects: ObjectDatabase, refs: Mapping[str, Oid]) -> list[Oid]:
    """Return the commits of all builds that refs hold, as far as they can be read; each after its
    parents.
    """
    found: dict[Oid, None] = {}
    pending = [*build_refs(refs).values()]
    parents: dict[Oid, tuple[Oid, ...]] = {}
    while pending:
        oid = pending.pop()
        if oid in parents:
            continue
        try:
            parents[oid] = objects.commit(oid).parents
        except StoreError:
            parents[oid] = ()
            continue
        found[oid] = None
        pending += parents[oid]
    return _parents_first(list(found), parents)


def _parents_first(oids: list[Oid], parents: Mapping[Oid, tuple[Oid, ...]]) -> list[Oid]:
    done: dict[Oid, None] = {}
    known = set(oids)
    for top in oids:
        pending = [top]
        while pending:
            oid = pending[-1]
            left = [each for each in parents[oid] if each in known and each not in done]
            if left:
                pending += left
            else:
                done[pending.pop()] = None
    return list(done)


def rewrite(
    writer: ObjectWriter, store: Store, reach: Reach, refs: Mapping[str, Oid], tips: list[Oid]
) -> dict[Oid, Oid | None]:
    """Return build -> the build in its place, of those that change; None for one of which nothing
    is left.

    A build of which a list is lost keeps its other lists. `tips` are builds behind a lost one, the
    newest last.
    """
    made: dict[Oid, Oid | None] = {}
    checker = BuildChecker(store)
    older = {f"{LABELS}{oid.hex()}": oid for oid in tips}
    for oid in dict.fromkeys([*chain(store.objects, older), *chain(store.objects, refs)]):
        commit = store.objects.commit(oid)
        tree: Oid | None = commit.tree
        if not reach.is_whole(commit.tree) or checker.wrong(oid):
            tree = _mended(writer, store, reach, commit.tree)
        near = _nearest(store, [tip for tip in tips if tip != oid], commit.author.seconds)
        stand_ins = [_stands_for(made, reach, each, near) for each in commit.parents]
        parents = tuple(each for each in stand_ins if each is not None)
        if tree is None:
            made[oid] = parents[0] if parents else None
        elif tree != commit.tree or parents != commit.parents:
            made[oid] = writer.add_commit(replace(commit, tree=tree, parents=parents))
    return made | {oid: None for oid in build_refs(refs).values() if oid not in reach.have}


def _nearest(store: Store, tips: list[Oid], seconds: int) -> Oid | None:
    earlier = [tip for tip in tips if store.objects.commit(tip).author.seconds <= seconds]
    return earlier[-1] if earlier else None


def newest(
    store: Store, made: Mapping[Oid, Oid | None], reach: Reach, oids: list[Oid]
) -> Oid | None:
    """Return the last of the builds that are left, as it is after `rewrite`."""
    known = [oid for oid in oids if oid in reach.have]
    last = max(known, key=lambda oid: store.objects.commit(oid).author.seconds, default=None)
    return None if last is None else made.get(last, last)


def _stands_for(
    made: Mapping[Oid, Oid | None], reach: Reach, parent: Oid, near: Oid | None
) -> Oid | None:
    if parent not in made and parent not in reach.have:
        parent = near or parent
    return made.get(parent, parent if parent in reach.have else None)


def _mended(writer: ObjectWriter, store: Store, reach: Reach, tree: Oid) -> Oid | None:
    """Return a build's tree without the lists that are lost or none; None where it is no build
    then.
    """
    if tree not in reach.have:
        return None
    entries = []
    for entry in store.objects.tree(tree):
        if entry.name == b"tasks" and entry.mode == MODE_DIRECTORY:
            entries.append(entry._replace(oid=_mended_lists(writer, store, reach, entry.oid)))
        elif entry.mode != MODE_DIRECTORY and _is_text(store, reach, entry):
            entries.append(entry)
    if b"build" not in {entry.name for entry in entries} or b"tasks" not in {
        entry.name for entry in entries
    }:
        return None
    return writer.add_tree(entries)


def _mended_lists(writer: ObjectWriter, store: Store, reach: Reach, tree: Oid) -> Oid:
    if tree not in reach.have:
        return EMPTY_TREE
    return writer.add_tree(
        [entry for entry in store.objects.tree(tree) if _is_list(store, reach, entry)]
    )


def _is_list(store: Store, reach: Reach, entry: Entry) -> bool:
    try:
        return (
            entry.oid in reach.have
            and decode_tasks(entry.name.decode(), store.objects.blob(entry.oid)) is not None
        )
    except (StoreError, ValueError):
        return False


def _is_text(store: Store, reach: Reach, entry: Entry) -> bool:
    if entry.oid not in reach.have:
        return False
    if entry.name != b"timeline":
        return True
    for line in store.objects.blob(entry.oid).decode("utf-8", "replace").splitlines():
        parts = line.split(" ")
        try:
            _ = len(parts) == 4 and (float(parts[1]), float(parts[2]), int(parts[3]))
        except ValueError:
            return False
        if len(parts) != 4:
            return False
    return True


def moved(
    refs: Mapping[str, Oid], made: Mapping[Oid, Oid | None]
) -> dict[str, tuple[Oid, Oid | None]]:
    """Return ref -> (what it is, what it becomes) for builds, labels and pins; a pin's name changes
    with its build.
    """
    found: dict[str, tuple[Oid, Oid | None]] = {}
    for name, oid in build_refs(refs).items():
        if oid in made:
            found[name] = oid, made[oid]
    return found
