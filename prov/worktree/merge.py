"""Recorded directories merged as trees, before any disk is touched.

`Union` puts directories on top of each other, as a sysroot or a task that starts from several outputs wants them;
`three_way` joins what two tasks made of the same start; `edit` changes single paths. Identical subtrees are skipped
unread. Pure: trees in, trees out; conflicts are data.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from prov.worktree.attributes import (
    DIRECTORY_MODE,
    EMPTY,
    Listing,
    Node,
    Pair,
    TreeReader,
    TreeWriter,
    read_listing,
    write_listing,
)


class TreeStore(TreeReader, TreeWriter, Protocol):
    """Reads what is stored and what was just written."""


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


@dataclass(slots=True)
class Union:
    """Puts recorded directories on top of each other. The same content at the same path is no conflict.

    Which files of one directory are hardlinked with each other is no part of the comparison: packages need not agree.
    """

    trees: TreeStore
    wins: Mapping[bytes, str] = field(default_factory=dict)
    """Path -> the owner, or the part of its name before a colon, whose file is taken where others bring another one;
    a folder's path speaks for all that is in it."""
    known: dict[frozenset[Pair], Pair] = field(default_factory=dict)
    """What was merged before, without conflicts: the same directories are not read again."""
    decided: int = 0

    def merge(self, parts: Sequence[Owned], *, path: bytes = b"") -> Merged:
        """Return all parts on top of each other."""
        distinct = {part.pair: part.owner for part in reversed(parts)}
        if len(distinct) < 2:
            return Merged(next(iter(distinct), EMPTY), ())
        key = frozenset(distinct)
        if key in self.known:
            return Merged(self.known[key], ())
        decided, conflicts = self.decided, list[Conflict]()
        entries: dict[bytes, list[tuple[str, Node]]] = {}
        for pair, owner in reversed(distinct.items()):
            for name, node in read_listing(self.trees, pair).items():
                claims = entries.get(name)
                if claims is None:
                    entries[name] = [(owner, node)]
                else:
                    claims.append((owner, node))
        listing: Listing = {}
        for name, claims in entries.items():
            first = claims[0][1]
            if len(claims) == 1:
                listing[name] = first
                continue
            at = path + b"/" + name if path else name
            if name != b"." and all(node.is_directory for _, node in claims):
                merged = self.merge([Owned(owner, node.pair) for owner, node in claims], path=at)
                listing[name] = first._replace(pair=merged.pair)
                conflicts += merged.conflicts
                continue
            if len({node.same_file for _, node in claims}) == 1:
                listing[name] = min((node for _, node in claims), key=lambda node: node.link)
                continue
            winner = self._winner(at, claims)
            listing[name] = winner or first
            if winner is None:
                other = next(owner for owner, node in claims if node.same_file != first.same_file)
                conflicts.append(Conflict(at, claims[0][0], other))
        pair = write_listing(self.trees, listing, mtimes=False)
        if not conflicts and decided == self.decided:
            self.known[key] = pair
        return Merged(pair, tuple(conflicts))

    def _winner(self, path: bytes, claims: Sequence[tuple[str, Node]]) -> Node | None:
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


Edits = Mapping[bytes, Node | None]
"""Path -> what is to be there, or None for nothing."""


def edit(trees: TreeStore, pair: Pair, edits: Edits) -> Pair:
    """Return a recorded directory (without mtimes) with other things at some paths; folders on the way are made."""
    listing = read_listing(trees, pair)
    deeper: dict[bytes, dict[bytes, Node | None]] = {}
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
            folder = Node(stat.S_IFDIR | DIRECTORY_MODE)
        listing[name] = folder._replace(pair=edit(trees, folder.pair, below))
    return write_listing(trees, listing, mtimes=False)


def three_way(trees: TreeStore, base: Pair, ours: Owned, theirs: Owned, *, path: bytes = b"") -> Merged:
    """Return what both made of `base`: what one side changed is taken; what both changed differently is a conflict.

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
            merged = three_way(trees, below, Owned(ours.owner, left.pair), Owned(theirs.owner, right.pair), path=at)
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
