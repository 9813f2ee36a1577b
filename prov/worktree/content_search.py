"""Search recorded directories for a content, under any name."""

from __future__ import annotations

from dataclasses import dataclass, field

from prov.store.objects import MODE_DIRECTORY, Oid, unescape_name
from prov.store.odb import ObjectDatabase
from prov.worktree.attributes import Pair

MOST_TREES = 20_000
"""The maximum number of trees that a search reads."""
SHORT = 16
"""Size in bytes below which files often have the same content by chance."""


@dataclass(slots=True)
class ContentSearch:
    """Finds blobs in trees, and caches which trees lack which blob."""

    objects: ObjectDatabase
    _trees_read: int = 0
    _without: set[tuple[Oid, Oid]] = field(default_factory=set)
    """Pairs of a tree and a blob that is not in it."""

    def find(self, pair: Pair, oid: Oid, *, like: bytes) -> bytes | None:
        """Return the path of a content in a directory that is most similar to the path `like`.

        Returns None if the directory lacks the content. A content shorter than `SHORT` is found
        only under the same file name.
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
    """Return the number of equal components at the ends of two paths."""
    count = 0
    for first, second in zip(reversed(one.split(b"/")), reversed(other.split(b"/")), strict=False):
        if first != second:
            break
        count += 1
    return count
