"""Find holders of objects to delete, and rewrite the histories of directories without them.

The runs of a directory share one history: the first parent of each commit is the directory's
previous state. If a run is deleted, the later ones are rewritten without it. They keep tree, record
and date, and their first parent becomes the nearest remaining ancestor.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from prov.records.run import empty_start
from prov.store.objects import MODE_DIRECTORY, Commit, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store


@dataclass(slots=True)
class Holders:
    """Finds holders of the target objects, and reads every tree and commit once."""

    store: Store
    targets: Collection[Oid]
    _trees: dict[Oid, bool] = field(default_factory=dict)
    _descends: dict[Oid, bool] = field(default_factory=dict)

    def tree(self, oid: Oid) -> bool:
        """Return whether a tree is a target or contains one."""
        holds = self._trees.get(oid)
        if holds is None:
            entries = self.store.objects.tree(oid) if oid not in self.targets else []
            holds = oid in self.targets or any(self._entry(entry) for entry in entries)
            self._trees[oid] = holds
        return holds

    def _entry(self, entry: Entry) -> bool:
        if entry.oid in self.targets:
            return True
        return entry.mode == MODE_DIRECTORY and self.tree(entry.oid)

    def commit_itself(self, oid: Oid) -> bool:
        """Return whether a commit is a target, or its tree or record has one; skip its history."""
        if oid in self.targets:
            return True
        commit = self.store.objects.commit(oid)
        return self.tree(commit.tree) or any(
            self.commit_itself(record) for record in commit.parents[1:]
        )

    def commit(self, oid: Oid) -> bool:
        """Return whether a commit or one of its first-parent ancestors contains a target."""
        line = []
        while oid not in self._descends:
            line.append(oid)
            parents = self.store.objects.commit(oid).parents
            if not parents:
                break
            oid = parents[0]
        holds = self._descends.get(oid, False)
        for commit in reversed(line):
            holds = self._descends[commit] = holds or self.commit_itself(commit)
        return holds


@dataclass(slots=True)
class Rewriter:
    """Rewrites histories without commits that contain targets."""

    store: Store
    writer: ObjectWriter
    holders: Holders
    _new: dict[Oid, Oid | None] = field(default_factory=dict)

    def without(self, oid: Oid) -> Oid | None:
        """Return the replacement of a commit, None if there is none.

        The replacement is the commit itself, or a copy with a rewritten history. A deleted commit
        is replaced by its nearest remaining ancestor.
        """
        line = []
        ancestor: Oid | None = oid
        while ancestor is not None and ancestor not in self._new:
            line.append(ancestor)
            parents = self.store.objects.commit(ancestor).parents
            ancestor = parents[0] if parents else None
        for commit in reversed(line):
            self._new[commit] = self._written(commit)
        return self._new[oid]

    def _written(self, oid: Oid) -> Oid | None:
        commit = self.store.objects.commit(oid)
        before = self._new[commit.parents[0]] if commit.parents else None
        if self.holders.commit_itself(oid):
            return before
        if not commit.parents or before == commit.parents[0]:
            return oid
        return self.writer.add_commit(self._after(commit, before))

    def _after(self, commit: Commit, before: Oid | None) -> Commit:
        first = before if before is not None else empty_start(self.writer).commit
        return replace(commit, parents=(first, *commit.parents[1:]))
