"""Merge recorded directories as trees, without access to files on disk.

`Union` overlays directories, for a sysroot or a task that starts from several outputs. `three_way`
merges the results of two tasks with the same start. `edit` changes single paths. Identical subtrees
are not read. Conflicts are returned, not raised.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
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
    """The part of a store that reads and writes trees, including unfinished ones."""

    def has(self, oid: Oid) -> bool: ...


class Conflict(NamedTuple):
    """Two owners have different content at one path."""

    path: bytes
    first: str
    second: str


class Merged(NamedTuple):
    """A merged directory; do not use `pair` if there are conflicts."""

    pair: Pair
    conflicts: tuple[Conflict, ...]


class Owned(NamedTuple):
    """A recorded directory and its owner's name, for messages."""

    owner: str
    pair: Pair


Claims = dict[Pair, FileNode]
"""The entries under one name, by the merged directory that contains them."""


class MergedFolder(NamedTuple):
    """The cached merge of one directory, without conflicts."""

    parts: dict[Pair, str]
    """The owner of each merged directory."""
    pair: Pair
    shared: dict[bytes, Claims]
    """The names that several parts have."""


class _Start(NamedTuple):
    """The initial state of a directory's merge."""

    listing: Listing
    """The resolved names."""
    shared: dict[bytes, Claims]
    """The resolved names that several parts have."""
    claims: dict[bytes, Claims]
    """The names to resolve; a name without claims is to be removed."""


@dataclass(slots=True)
class Union:
    """Overlays recorded directories; identical content at one path is not a conflict.

    Hardlinks are not compared: packages can hardlink a shared file differently.
    """

    trees: TreeStore
    wins: Mapping[bytes, str] = field(default_factory=dict)
    """The owner whose file overrides others, by path; a folder's path applies to its content.

    The owner's name can be shortened to the part before a colon.
    """
    merges: dict[bytes, MergedFolder] = field(default_factory=dict)
    """The last merge of each folder, by path; if few parts changed, the others are not read."""
    current: set[bytes] = field(default_factory=set)
    """The paths at which `merges` is valid for this merge."""
    mtimes: bool = False
    """Record mtimes in the result; of equal files, the first part's."""
    decided: int = 0
    """The number of conflicts that `wins` decided."""

    def merge(self, parts: Sequence[Owned], *, path: bytes = b"") -> Merged:
        """Return the overlay of all parts."""
        distinct = {part.pair: part.owner for part in reversed(parts)}
        if len(distinct) < 2:
            return Merged(next(iter(distinct), EMPTY), ())
        distinct = dict(reversed(distinct.items()))
        before = self._before(path)
        if before is not None and before.parts.keys() == distinct.keys():
            self._keep(path)
            return Merged(before.pair, ())
        decided = self.decided
        start = self._start(before, distinct)
        conflicts = self._resolve_all(path, start, distinct)
        for name in start.shared.keys() - start.claims.keys():
            self._keep(_join(path, name))
        pair = write_listing(self.trees, start.listing, mtimes=self.mtimes)
        if conflicts or decided != self.decided:
            self.merges.pop(path, None)
        else:
            start.shared.pop(b".", None)
            self.merges[path] = MergedFolder(distinct, pair, start.shared)
            self.current.add(path)
        return Merged(pair, tuple(conflicts))

    def _before(self, path: bytes) -> MergedFolder | None:
        """Return a directory's last merge, if the store still has its result."""
        merge = self.merges.get(path)
        if merge is None:
            return None
        is_stored = all(oid is None or self.trees.has(oid) for oid in merge.pair)
        return merge if is_stored else None

    def _keep(self, path: bytes) -> None:
        """Mark the last merges of a directory and its subdirectories as valid for this merge."""
        self.current.update(
            at for at in self.merges if not path or at == path or at.startswith(path + b"/")
        )

    def remembered(self) -> dict[bytes, MergedFolder]:
        """Return the value of `merges` for the next merge."""
        return {path: merge for path, merge in self.merges.items() if path in self.current}

    def _start(self, before: MergedFolder | None, distinct: dict[Pair, str]) -> _Start:
        """Return a start from the last result if few parts changed, otherwise an empty one."""
        start = None
        if before is not None:
            # the store may no longer have a removed part
            with contextlib.suppress(StoreError):
                start = self._changed(before, distinct)
        return start or self._all(distinct)

    def _all(self, distinct: dict[Pair, str]) -> _Start:
        """Return an empty start, in which all names of all parts are to be resolved."""
        claims: dict[bytes, Claims] = {}
        for pair in distinct:
            for name, node in read_listing(self.trees, pair).items():
                if name in claims:
                    claims[name][pair] = node
                else:
                    claims[name] = {pair: node}
        return _Start({}, {}, claims)

    def _changed(self, before: MergedFolder, distinct: dict[Pair, str]) -> _Start | None:
        """Return a start from the last result, with the names of removed and added parts.

        Returns None if most parts changed, or if an added part has different attributes of its own.
        """
        left = before.parts.keys() - distinct.keys()
        joined = distinct.keys() - before.parts.keys()
        if 2 * (len(left) + len(joined)) > len(distinct):
            return None
        listing = read_listing(self.trees, before.pair)
        claims: dict[bytes, Claims] = {}
        for pair in left:
            for name in read_listing(self.trees, pair):
                if name != b".":
                    nodes = claims.setdefault(name, dict(before.shared.get(name, {})))
                    nodes.pop(pair, None)
        for pair in joined:
            entries = read_listing(self.trees, pair)
            if entries.pop(b".").same_file != listing[b"."].same_file:
                return None
            for name, node in entries.items():
                if name not in claims:
                    claims[name] = self._claims_before(before, name, listing.get(name))
                claims[name][pair] = node
        return _Start(listing, dict(before.shared), claims)

    def _claims_before(self, before: MergedFolder, name: bytes, node: FileNode | None) -> Claims:
        """Return the last merge's claims to a name, whose entry in the result is `node`."""
        shared = before.shared.get(name)
        if shared:
            return dict(shared)
        if node is None:
            return {}
        # a name in a single part is not in `shared`, so search the parts
        return next({pair: node} for pair in before.parts if name in read_listing(self.trees, pair))

    def _resolve_all(self, path: bytes, start: _Start, distinct: dict[Pair, str]) -> list[Conflict]:
        """Resolve all claims of a start in its listing; return the conflicts."""
        conflicts: list[Conflict] = []
        for name, nodes in start.claims.items():
            start.shared.pop(name, None)
            if not nodes:
                start.listing.pop(name, None)
            elif len(nodes) == 1:
                [start.listing[name]] = nodes.values()
            else:
                start.shared[name] = nodes
                claims = [(distinct[pair], node) for pair, node in nodes.items()]
                start.listing[name] = self._resolve(_join(path, name), name, claims, conflicts)
        return conflicts

    def _resolve(
        self,
        path: bytes,
        name: bytes,
        claims: list[tuple[str, FileNode]],
        conflicts: list[Conflict],
    ) -> FileNode:
        """Return the merged entry of several parts at a path."""
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
    """Return the overlay of all parts."""
    return Union(trees).merge(parts)


Edits = Mapping[bytes, FileNode | None]
"""The new entry at each path, or None to remove the entry."""


def edit(trees: TreeStore, pair: Pair, edits: Edits, *, mtimes: bool = False) -> Pair:
    """Return a recorded directory with edits applied; missing folders are created."""
    listing = read_listing(trees, pair)
    deeper: dict[bytes, dict[bytes, FileNode | None]] = {}
    for path, node in edits.items():
        name, _, rest = path.partition(b"/")
        if rest:
            deeper.setdefault(name, {})[rest] = node
        elif node is None:
            listing.pop(name, None)
        else:
            listing[name] = _with_content_of(listing.get(name), node)
    for name, below in deeper.items():
        folder = listing.get(name)
        if folder is None or not folder.is_directory:
            if not any(below.values()):
                continue
            folder = FileNode(stat.S_IFDIR | DIRECTORY_MODE)
        listing[name] = folder._replace(pair=edit(trees, folder.pair, below, mtimes=mtimes))
    return write_listing(trees, listing, mtimes=mtimes)


def _with_content_of(present: FileNode | None, node: FileNode) -> FileNode:
    """Return the new entry; a folder that replaces a folder keeps its content."""
    if present is not None and present.is_directory and node.is_directory:
        return node._replace(pair=present.pair)
    return node


class Resolution(Enum):
    """The side that a three-way merge selects for one name."""

    OURS = auto()
    THEIRS = auto()
    LATER = auto()
    """The entry with the later mtime; both have the same content."""
    CONFLICT = auto()


def resolution(base: FileNode | None, ours: FileNode | None, theirs: FileNode | None) -> Resolution:
    """Select a side for a name, given its entry at the start and on both sides, or None."""
    if ours == base:
        return Resolution.THEIRS
    if theirs in (base, ours):
        return Resolution.OURS
    if ours and theirs and ours.same_content == theirs.same_content:
        return Resolution.LATER
    return Resolution.CONFLICT


def three_way(
    trees: TreeStore, base: Pair, ours: Owned, theirs: Owned, *, path: bytes = b""
) -> Merged:
    """Merge the changes of both sides to `base`; different changes to one path conflict.

    A file that both sides wrote with the same content does not conflict; it gets the later mtime.
    """
    if ours.pair == theirs.pair or theirs.pair == base:
        return Merged(ours.pair, ())
    if ours.pair == base:
        return Merged(theirs.pair, ())
    start, mine, other = (read_listing(trees, pair) for pair in (base, ours.pair, theirs.pair))
    listing: Listing = {}
    conflicts: list[Conflict] = []
    for name in sorted(start.keys() | mine.keys() | other.keys()):
        old, left, right = start.get(name), mine.get(name), other.get(name)
        at = _join(path, name)
        if name != b"." and left and right and left.is_directory and right.is_directory:
            below = Owned(ours.owner, left.pair), Owned(theirs.owner, right.pair)
            old_pair = old.pair if old and old.is_directory else EMPTY
            merged = three_way(trees, old_pair, *below, path=at)
            listing[name] = left._replace(pair=merged.pair)
            conflicts += merged.conflicts
            continue
        choice = resolution(old, left, right)
        if choice is Resolution.CONFLICT:
            conflicts.append(Conflict(at, ours.owner, theirs.owner))
        entry = _chosen(choice, left, right)
        if entry is not None:
            listing[name] = entry
    return Merged(write_listing(trees, listing, mtimes=True), tuple(conflicts))


def _chosen(choice: Resolution, ours: FileNode | None, theirs: FileNode | None) -> FileNode | None:
    """Return the selected entry; in a conflict, whose result is not used, ours."""
    if choice is Resolution.THEIRS:
        return theirs
    if choice is Resolution.LATER and ours and theirs:
        return max(ours, theirs, key=lambda node: node.mtime or 0)
    return ours


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
