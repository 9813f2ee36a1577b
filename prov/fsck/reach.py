"""Which objects are missing, and which refs hold them: a walk from the refs down, each object
once.
"""

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
    """Return the ids of all objects in packs that have both their files, and in files of their
    own.
    """
    found: set[Oid] = set()
    for index in objects.folder.glob("pack-*.idx"):
        if index.with_suffix(".pack").exists():
            found |= listed(index)
    found.update(oid for _, oid, wrong in loose_objects(objects.git_dir) if not wrong)
    return found | _alternates(objects.git_dir)


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
    """What has been found of the objects below refs."""

    objects: ObjectDatabase
    have: set[Oid]
    shallow: frozenset[Oid] = frozenset()
    """Commits whose parents need not be there."""
    whole: set[Oid] = field(default_factory=set)
    """All below them is there."""
    broken: dict[Oid, tuple[Oid, ...]] = field(default_factory=dict)
    """Those below which something is missing -> which of what they name is broken; nothing for a
    missing one.
    """

    @staticmethod
    def of(objects: ObjectDatabase) -> Reach:
        objects.refresh()
        file = objects.git_dir / "shallow"
        lines = file.read_text().split() if file.exists() else []
        return Reach(objects, object_ids(objects), frozenset(map(bytes.fromhex, lines)))

    def is_whole(self, root: Oid) -> bool:
        """Tell whether an object and all that it holds are there."""
        pending: list[tuple[Oid, list[Oid] | None]] = [(root, None)]
        while pending:
            oid, below = pending.pop()
            if below is not None:
                broken = tuple(each for each in below if each in self.broken)
                if broken:
                    self.broken[oid] = broken
                else:
                    self.whole.add(oid)
            elif oid not in self.whole and oid not in self.broken:
                if oid not in self.have:
                    self.broken[oid] = ()
                    continue
                below = self._below(oid)
                pending.append((oid, below))
                pending += [
                    (each, None)
                    for each in below
                    if each not in self.whole and each not in self.broken
                ]
        return root in self.whole

    def _below(self, oid: Oid) -> list[Oid]:
        """Return what an object names; blobs that are there are left out."""
        kind, data = self.objects.read(oid)
        if kind == "commit":
            commit = decode_commit(data)
            return [commit.tree, *(commit.parents if oid not in self.shallow else ())]
        if kind == "tag":  # somebody's own: its first line names what it stands for
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
        """Return what is missing below an object, as far as a look at `FAR` broken ones finds
        it.
        """
        seen, pending, found = {root}, [root], []
        while pending and len(seen) < FAR:
            oid = pending.pop()
            below = self.broken.get(oid)
            if below == ():
                found.append(oid)
            for each in below or ():
                if each not in seen:
                    seen.add(each)
                    pending.append(each)
        return found

    def found(self, oids: Iterable[Oid]) -> None:
        """Take it that these are there now; what was broken must be looked at again."""
        self.have.update(oids)
        self.broken.clear()
        self.objects.refresh()

    def missing(self) -> Iterator[Oid]:
        """Yield what is known to be missing."""
        return (oid for oid, below in self.broken.items() if not below)


def holders(reach: Reach, refs: dict[str, Oid]) -> dict[Oid, list[str]]:
    """Return each missing object with the refs that hold it."""
    found: dict[Oid, list[str]] = {oid: [] for oid in reach.missing()}
    for name, oid in refs.items():
        for each in reach.missing_below(oid):
            found[each].append(name)
    return found
