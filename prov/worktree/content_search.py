"""Search of recorded directories for a content, whatever its name."""

from __future__ import annotations

from dataclasses import dataclass, field

from prov.store.objects import MODE_DIRECTORY, Oid, unescape_name
from prov.store.odb import ObjectDatabase
from prov.worktree.attributes import Pair

MOST_TREES = 20_000
"""How many trees are read in search of a content."""
SHORT = 16
"""Bytes; files that are shorter have often the same content by chance."""


@dataclass(slots=True)
class ContentSearch:
    """Finds blobs in trees; trees without a blob are remembered."""

    objects: ObjectDatabase
    _trees_read: int = 0
    _without: set[tuple[Oid, Oid]] = field(default_factory=set)
    """Trees that do not have a blob."""

    def find(self, pair: Pair, oid: Oid, *, like: bytes) -> bytes | None:
        """Return the path of a content in a directory, the one most like another path.

        Returns None if it is not there; a short content counts only under the same file name.
        """
        paths = self.paths_of(pair.tree, oid, b"")
        if paths and self.objects.blob_size(oid) < SHORT:
            paths = [path for path in paths if _file_name(path) == _file_name(like)]
        return max(paths, key=lambda path: common_end(path, like), default=None)

    def paths_of(self, tree: Oid, oid: Oid, prefix: bytes) -> list[bytes]:
        """Return all paths of a content in a tree, below a prefix."""
        if (tree, oid) in self._without or self._trees_read > MOST_TREES:
            return []
        self._trees_read += 1
        paths = []
        for entry in self.objects.tree(tree):
            name = prefix + unescape_name(entry.name)
            if entry.mode == MODE_DIRECTORY:
                paths += self.paths_of(entry.oid, oid, name + b"/")
            elif entry.oid == oid:
                paths.append(name)
        if not paths:
            self._without.add((tree, oid))
        return paths


def _file_name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def common_end(one: bytes, other: bytes) -> int:
    """Return how many folders and file names at the ends of two paths are the same."""
    count = 0
    for first, second in zip(reversed(one.split(b"/")), reversed(other.split(b"/")), strict=False):
        if first != second:
            break
        count += 1
    return count
