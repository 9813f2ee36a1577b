"""Find missing objects and the refs that hold them: a walk from the refs, each object once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prov.processes import without_collecting
from prov.store.integrity import listed, loose_objects
from prov.store.objects import MODE_DIRECTORY, Oid, decode_commit, decode_tree
from prov.store.odb import ObjectDatabase

GITLINK = 0o160000
FAR = 10_000
"""So many broken objects below one ref are looked at for what is missing."""


def object_ids(objects: ObjectDatabase) -> set[Oid]:
    """Return the ids of all objects in whole files of their own and in packs with an index."""
    oids: set[Oid] = set()
    for index in objects.folder.glob("pack-*.idx"):
        if index.with_suffix(".pack").exists():
            oids |= listed(index)
    oids.update(oid for _, oid, wrong in loose_objects(objects.git_dir) if not wrong)
    return oids | _alternates(objects.git_dir)


def _alternates(git_dir: Path) -> set[Oid]:
    file = git_dir / "objects/info/alternates"
    if not file.exists():
        return set()
    folders = [
        git_dir / "objects" / line / "pack" for line in file.read_text().splitlines() if line
    ]
    return {
        oid for folder in folders for index in folder.glob("pack-*.idx") for oid in listed(index)
    }


@dataclass(slots=True)
class Reach:
    """The objects below refs, as far as they were walked."""

    objects: ObjectDatabase
    have: set[Oid]
    shallow: frozenset[Oid] = frozenset()
    """Commits whose parents need not be there."""
    whole: set[Oid] = field(default_factory=set)
    """All objects below them exist."""
    broken: dict[Oid, tuple[Oid, ...]] = field(default_factory=dict)
    """Objects that are missing, or below which one is -> the broken ones that they name; for a
    missing object, none.
    """

    @staticmethod
    def of(objects: ObjectDatabase) -> Reach:
        objects.refresh()
        file = objects.git_dir / "shallow"
        lines = file.read_text().split() if file.exists() else []
        return Reach(objects, object_ids(objects), frozenset(map(bytes.fromhex, lines)))

    def is_whole(self, root: Oid) -> bool:
        """Return whether an object and all that it holds exist."""
        pending: list[tuple[Oid, list[Oid] | None]] = [(root, None)]
        while pending:
            oid, below = pending.pop()
            if below is not None:  # everything below it was walked
                self._settle(oid, below)
            elif self._is_settled(oid):
                continue
            elif oid not in self.have:
                self.broken[oid] = ()
            else:
                below = self._below(oid)
                pending.append((oid, below))
                pending += [(child, None) for child in below if not self._is_settled(child)]
        return root in self.whole

    def _is_settled(self, oid: Oid) -> bool:
        return oid in self.whole or oid in self.broken

    def _settle(self, oid: Oid, below: list[Oid]) -> None:
        broken = tuple(child for child in below if child in self.broken)
        if broken:
            self.broken[oid] = broken
        else:
            self.whole.add(oid)

    def _below(self, oid: Oid) -> list[Oid]:
        """Return what an object names; blobs that are there are left out."""
        kind, data = self.objects.read(oid)
        if kind == "commit":
            commit = decode_commit(data)
            return [commit.tree, *(commit.parents if oid not in self.shallow else ())]
        if kind == "tag":  # a user's own: its first line names its target
            return [bytes.fromhex(data[7:47].decode())]
        if kind == "blob":
            return []
        have = self.have
        return [
            entry.oid
            for entry in decode_tree(data)
            if entry.mode == MODE_DIRECTORY or (entry.oid not in have and entry.mode != GITLINK)
        ]

    def look(self, refs: dict[str, Oid]) -> dict[str, Oid]:
        """Return those refs below which something is missing."""
        with without_collecting():
            return {name: oid for name, oid in refs.items() if not self.is_whole(oid)}

    def missing_below(self, root: Oid) -> list[Oid]:
        """Return what is missing below an object, of the `FAR` broken objects nearest to it."""
        visited, pending, missing = {root}, [root], []
        while pending and len(visited) < FAR:
            oid = pending.pop()
            below = self.broken.get(oid)
            if below == ():
                missing.append(oid)
            for child in below or ():
                if child not in visited:
                    visited.add(child)
                    pending.append(child)
        return missing

    def add(self, oids: Iterable[Oid]) -> None:
        """Add objects that exist now; everything broken must be walked again."""
        self.have.update(oids)
        self.broken.clear()
        self.objects.refresh()

    def missing(self) -> Iterator[Oid]:
        """Yield what is known to be missing."""
        return (oid for oid, below in self.broken.items() if not below)


def holders(reach: Reach, refs: dict[str, Oid]) -> dict[Oid, list[str]]:
    """Return each missing object with the refs that hold it."""
    names: dict[Oid, list[str]] = {oid: [] for oid in reach.missing()}
    for name, oid in refs.items():
        for missing in reach.missing_below(oid):
            names[missing].append(name)
    return names
