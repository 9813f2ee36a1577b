"""Recorded directories merged as trees, before any disk is touched.

`Union` puts directories on top of each other, as a sysroot or a task that starts from several
outputs wants them; `three_way` joins what two tasks made of the same start; `edit` changes single
paths. Identical subtrees are skipped unread. Pure: trees in, trees out; conflicts are data.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from prov.errors import StoreError
from prov.store.objects import Oid
from prov.worktree.attributes import (
    DIRECTORY_MODE,
    EMPTY,
    FileNode,
    Listing,
    Pair,
    TreeReader,
    TreeWriter,
    read_listing,
    write_listing,
)


class TreeStore(TreeReader, TreeWriter, Protocol):
    """Reads what is stored and what was just written."""

    def has(self, oid: Oid) -> bool: ...


class Conflict(NamedTuple):
    """Two owners bring different things to one path."""

    path: bytes
    first: str
    second: str


class Merged(NamedTuple):
    """A merged directory; usable only when there are no conflicts."""

    pair: Pair
    conflicts: tuple[Conflict, ...]


class Owned(NamedTuple):
    """A recorded directory and who made it, for messages."""

    owner: str
    pair: Pair


Claims = dict[Pair, FileNode]
"""What each of the directories that are merged has under one name."""


class MergedFolder(NamedTuple):
    """How one directory was merged, without conflicts."""

    parts: dict[Pair, str]
    """Recorded directory -> who made it."""
    pair: Pair
    shared: dict[bytes, Claims]
    """The names that more than one of the parts has."""


@dataclass(slots=True)
class Union:
    """Puts recorded directories on top of each other. The same content at the same path is no
    conflict.

    Which files of one directory are hardlinked with each other is no part of the comparison:
    packages need not agree.
    """

    trees: TreeStore
    wins: Mapping[bytes, str] = field(default_factory=dict)
    """Path -> the owner, or the part of its name before a colon, whose file is taken where others
    bring another one; a folder's path speaks for all that is in it.
    """
    known: dict[bytes, MergedFolder] = field(default_factory=dict)
    """Path -> how it was merged the last time: where few parts are others now, the rest is not read
    again.
    """
    used: set[bytes] = field(default_factory=set)
    """Paths at which `known` is true of this merge."""
    mtimes: bool = False
    """The result has the mtimes of what is merged: of one file that several bring, the first
    one's.
    """
    decided: int = 0
    """How often `wins` decided."""

    def merge(self, parts: Sequence[Owned], *, path: bytes = b"") -> Merged:
        """Return all parts on top of each other."""
        distinct = {part.pair: part.owner for part in reversed(parts)}
        if len(distinct) < 2:
            return Merged(next(iter(distinct), EMPTY), ())
        distinct = dict(reversed(distinct.items()))
        before = self._before(path)
        if before is not None and before.parts.keys() == distinct.keys():
            self._keep(path)
            return Merged(before.pair, ())
        try:
            found = self._changed(before, distinct) if before is not None else None
        except StoreError:  # a part that left is not in the store any more
            found = None
        listing, shared, claims = found or self._all(distinct)
        decided, conflicts = self.decided, list[Conflict]()
        for name, nodes in claims.items():
            shared.pop(name, None)
            if not nodes:
                listing.pop(name, None)
            elif len(nodes) == 1:
                [listing[name]] = nodes.values()
            else:
                shared[name] = nodes
                at = path + b"/" + name if path else name
                listing[name] = self._resolve(
                    at, name, [(distinct[pair], nodes[pair]) for pair in nodes], conflicts
                )
        for name in shared.keys() - claims.keys():
            self._keep(path + b"/" + name if path else name)
        pair = write_listing(self.trees, listing, mtimes=self.mtimes)
        shared.pop(b".", None)
        if conflicts or decided != self.decided:
            self.known.pop(path, None)
        else:
            self.known[path] = MergedFolder(distinct, pair, shared)
            self.used.add(path)
        return Merged(pair, tuple(conflicts))

    def _before(self, path: bytes) -> MergedFolder | None:
        """Return how a directory was merged the last time, if that is in the store still."""
        known = self.known.get(path)
        return (
            known
            if known and all(oid is None or self.trees.has(oid) for oid in known.pair)
            else None
        )

    def _keep(self, path: bytes) -> None:
        """Note that what is known of a directory, and of those in it, is true of this merge."""
        self.used.update(
            at for at in self.known if not path or at == path or at.startswith(path + b"/")
        )

    def remembered(self) -> dict[bytes, MergedFolder]:
        """Return what is known of this merge, for the next one."""
        return {path: known for path, known in self.known.items() if path in self.used}

    def _all(
        self, distinct: dict[Pair, str]
    ) -> tuple[Listing, dict[bytes, Claims], dict[bytes, Claims]]:
        """Return what to start from when all parts are read: nothing, and all names to resolve."""
        claims: dict[bytes, Claims] = {}
        for pair in distinct:
            for name, node in read_listing(self.trees, pair).items():
                if name in claims:
                    claims[name][pair] = node
                else:
                    claims[name] = {pair: node}
        return {}, {}, claims

    def _changed(
        self, before: MergedFolder, distinct: dict[Pair, str]
    ) -> tuple[Listing, dict[bytes, Claims], dict[bytes, Claims]] | None:
        """Return what to start from when few parts are others: the last result, and the names that
        these have.

        None where that would not be less work, or the directory itself is another one.
        """
        gone, come = before.parts.keys() - distinct.keys(), distinct.keys() - before.parts.keys()
        if 2 * (len(gone) + len(come)) > len(distinct):
            return None
        listing, shared = read_listing(self.trees, before.pair), dict(before.shared)
        claims: dict[bytes, Claims] = {}
        for pair in gone:
            for name in read_listing(self.trees, pair):
                if name != b".":
                    nodes = claims.setdefault(name, dict(shared.get(name, {})))
                    nodes.pop(pair, None)
        for pair in come:
            for name, node in read_listing(self.trees, pair).items():
                if name == b".":
                    if node.same_file != listing[b"."].same_file:
                        return None
                    continue
                if name not in claims:
                    claims[name] = dict(shared.get(name, {})) or self._only_claim(
                        before, name, listing.get(name)
                    )
                claims[name][pair] = node
        return listing, shared, claims

    def _only_claim(self, before: MergedFolder, name: bytes, node: FileNode | None) -> Claims:
        """Return the claim of the only part that had a name, of which part nothing was kept."""
        if node is None:
            return {}
        return next({pair: node} for pair in before.parts if name in read_listing(self.trees, pair))

    def _resolve(
        self,
        path: bytes,
        name: bytes,
        claims: list[tuple[str, FileNode]],
        conflicts: list[Conflict],
    ) -> FileNode:
        """Return what several parts have at a path, together."""
        owner, first = claims[0]
        if name != b"." and all(node.is_directory for _, node in claims):
            merged = self.merge([Owned(owner, node.pair) for owner, node in claims], path=path)
            conflicts += merged.conflicts
            return first._replace(pair=merged.pair)
        other = next((owner for owner, node in claims if node.same_file != first.same_file), None)
        if other is None:
            return min((node for _, node in claims), key=lambda node: node.link)
        winner = self._winner(path, claims)
        if winner is None:
            conflicts.append(Conflict(path, owner, other))
        return winner or first

    def _winner(self, path: bytes, claims: Sequence[tuple[str, FileNode]]) -> FileNode | None:
        while path:
            owner = self.wins.get(path)
            for claimant, node in claims:
                if owner is not None and owner in (claimant, claimant.partition(":")[0]):
                    self.decided += 1
                    return node
            path = path.rpartition(b"/")[0]
        return None


def union(trees: TreeStore, parts: Sequence[Owned]) -> Merged:
    """Return all parts on top of each other."""
    return Union(trees).merge(parts)


Edits = Mapping[bytes, FileNode | None]
"""Path -> what is to be there, or None for nothing."""


def edit(trees: TreeStore, pair: Pair, edits: Edits, *, mtimes: bool = False) -> Pair:
    """Return a recorded directory with other things at some paths; folders on the way are made."""
    listing = read_listing(trees, pair)
    deeper: dict[bytes, dict[bytes, FileNode | None]] = {}
    for path, node in edits.items():
        name, _, rest = path.partition(b"/")
        if rest:
            deeper.setdefault(name, {})[rest] = node
        elif node is None:
            listing.pop(name, None)
        elif node.is_directory and name in listing and listing[name].is_directory:
            listing[name] = node._replace(pair=listing[name].pair)
        else:
            listing[name] = node
    for name, below in deeper.items():
        folder = listing.get(name)
        if folder is None or not folder.is_directory:
            if all(node is None for node in below.values()):
                continue
            folder = FileNode(stat.S_IFDIR | DIRECTORY_MODE)
        listing[name] = folder._replace(pair=edit(trees, folder.pair, below, mtimes=mtimes))
    return write_listing(trees, listing, mtimes=mtimes)


def three_way(
    trees: TreeStore, base: Pair, ours: Owned, theirs: Owned, *, path: bytes = b""
) -> Merged:
    """Return what both made of `base`: what one side changed is taken; what both changed
    differently is a conflict.

    A file written by both with the same content is no conflict; the later mtime is kept.
    """
    if ours.pair == theirs.pair or theirs.pair == base:
        return Merged(ours.pair, ())
    if ours.pair == base:
        return Merged(theirs.pair, ())
    start, mine, other = (read_listing(trees, pair) for pair in (base, ours.pair, theirs.pair))
    listing: Listing = {}
    conflicts: list[Conflict] = []
    for name in sorted(start.keys() | mine.keys() | other.keys()):
        at = path + b"/" + name if path else name
        old, left, right = start.get(name), mine.get(name), other.get(name)
        if name != b"." and left and right and left.is_directory and right.is_directory:
            below = old.pair if old and old.is_directory else EMPTY
            merged = three_way(
                trees, below, Owned(ours.owner, left.pair), Owned(theirs.owner, right.pair), path=at
            )
            listing[name] = left._replace(pair=merged.pair)
            conflicts += merged.conflicts
            continue
        chosen = right if left == old else left
        if left != old and right != old and left != right:
            if left and right and left.same_content == right.same_content:
                chosen = max(left, right, key=lambda node: node.mtime or 0)
            else:
                conflicts.append(Conflict(at, ours.owner, theirs.owner))
        if chosen is not None:
            listing[name] = chosen
    return Merged(write_listing(trees, listing, mtimes=True), tuple(conflicts))
