"""Recorded directories merged as trees, before any disk is touched.

`union` puts directories on top of each other, as a sysroot or a task that starts from several outputs wants them;
`three_way` joins what two tasks made of the same start. Identical subtrees are skipped unread. Pure: trees in, trees
out; conflicts are data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from prov.worktree.attributes import EMPTY, Listing, Node, Pair, TreeReader, TreeWriter, read_listing, write_listing


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


def union(trees: TreeStore, parts: Sequence[Owned], *, path: bytes = b"") -> Merged:
    """Return all parts on top of each other. The same content at the same path is no conflict."""
    distinct = list({part.pair: part for part in reversed(parts)}.values())[::-1]
    if not distinct:
        return Merged(EMPTY, ())
    if len(distinct) == 1:
        return Merged(distinct[0].pair, ())
    conflicts: list[Conflict] = []
    entries: dict[bytes, list[tuple[str, Node]]] = {}
    for owner, pair in distinct:
        for name, node in read_listing(trees, pair).items():
            entries.setdefault(name, []).append((owner, node))
    listing: Listing = {}
    for name, claims in entries.items():
        at = path + b"/" + name if path else name
        if name != b"." and all(node.is_directory for _, node in claims):
            merged = union(trees, [Owned(owner, node.pair) for owner, node in claims], path=at)
            listing[name] = claims[0][1]._replace(pair=merged.pair)
            conflicts += merged.conflicts
            continue
        first_owner, first = claims[0]
        listing[name] = first
        conflicts += [
            Conflict(at, first_owner, owner) for owner, node in claims[1:] if node.same_content != first.same_content
        ]
    return Merged(write_listing(trees, listing, mtimes=False), tuple(conflicts))


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
