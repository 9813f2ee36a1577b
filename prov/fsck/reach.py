"""Find missing objects and the refs that hold them, by a walk from the refs."""

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
"""Maximum number of broken objects to visit below one ref in search of missing ones."""


def object_ids(objects: ObjectDatabase) -> set[Oid]:
    """Return the ids of all objects in intact loose files and in packs with an index."""
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
    """The objects below refs, as far as walked."""

    objects: ObjectDatabase
    have: set[Oid]
    shallow: frozenset[Oid] = frozenset()
    """Commits with possibly absent parents."""
    whole: set[Oid] = field(default_factory=set)
    """Objects below which all objects exist."""
    broken: dict[Oid, tuple[Oid, ...]] = field(default_factory=dict)
    """Incomplete object -> its incomplete children; a missing object has none."""

    @staticmethod
    def of(objects: ObjectDatabase) -> Reach:
        objects.refresh()
        file = objects.git_dir / "shallow"
        lines = file.read_text().split() if file.exists() else []
        return Reach(objects, object_ids(objects), frozenset(map(bytes.fromhex, lines)))

    def is_whole(self, root: Oid) -> bool:
        """Return whether an object and all objects below it exist."""
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
        """Return the ids in an object, without those of existing blobs."""
        kind, data = self.objects.read(oid)
        if kind == "commit":
            commit = decode_commit(data)
            return [commit.tree, *(commit.parents if oid not in self.shallow else ())]
        if kind == "tag":  # a user's tag: its first line names its target
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
        """Return the refs with missing objects."""
        with without_collecting():
            return {name: oid for name, oid in refs.items() if not self.is_whole(oid)}

    def missing_below(self, root: Oid) -> list[Oid]:
        """Return the missing objects below an object, after visiting at most `FAR` objects."""
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
        """Add objects that exist now. All broken objects must be walked again."""
        self.have.update(oids)
        self.broken.clear()
        self.objects.refresh()

    def missing(self) -> Iterator[Oid]:
        """Yield the objects known to be missing."""
        return (oid for oid, below in self.broken.items() if not below)


def holders(reach: Reach, refs: dict[str, Oid]) -> dict[Oid, list[str]]:
    """Return missing object -> refs that hold it."""
    names: dict[Oid, list[str]] = {oid: [] for oid in reach.missing()}
    for name, oid in refs.items():
        for missing in reach.missing_below(oid):
            names[missing].append(name)
    return names
