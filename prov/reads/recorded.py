"""The files before a command: a directory whose state was recorded, and all others on disk."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from prov.reads.disk import OnDisk
from prov.reads.namespace import Before, joined
from prov.reads.trace import View
from prov.worktree.attributes import FileNode, Listing, Pair, TreeReader, read_listing
from prov.worktree.exclude import Exclude


@dataclass(slots=True)
class Recorded:
    """A recorded state of one directory, in front of the files on disk."""

    objects: TreeReader
    directory: bytes
    """The directory's path as the command sees it, without links."""
    pair: Pair
    """The recorded state of the directory."""
    is_excluded: Callable[[bytes], bool] = lambda _path: False
    """Whether a path in the directory is on disk only: neither recorded nor changed."""
    disk: View = field(default_factory=OnDisk)
    """The files outside the directory, and the excluded ones in it."""
    _listings: dict[bytes, Listing | None] = field(default_factory=dict)

    def lookup(self, path: bytes) -> Before | None:
        """Return what was at a path, or None."""
        if not self.is_inside(path):
            return self.disk.lookup(path)
        node = self.node(path)
        if node is None:
            return None
        if stat.S_ISLNK(node.mode):
            return Before(node.mode, self.objects.blob(node.oid))
        return Before(node.mode)

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in a directory, with those of excluded entries."""
        if not self.is_inside(path):
            return self.disk.names(path)
        listing = self._listing(self.inner(path)) or {}
        excluded = [
            name for name in self.disk.names(path) if not self.is_inside(joined(path, name))
        ]
        return sorted({*listing, *excluded} - {b"."})

    def head(self, path: bytes) -> bytes:
        """Return the first bytes of a file as it is now; empty if it cannot be read."""
        return self.disk.head(path)

    def is_inside(self, path: bytes) -> bool:
        """Return whether the recorded state decides what was at a path."""
        if path != self.directory and not path.startswith(self.directory + b"/"):
            return False
        return not self.is_excluded(self.inner(path))

    def inner(self, path: bytes) -> bytes:
        """Return a path in the directory, relative to it."""
        return path[len(self.directory) + 1 :]

    def node(self, path: bytes) -> FileNode | None:
        """Return the recorded entry at a path in the directory."""
        inner = self.inner(path)
        if not inner:
            return (self._listing(b"") or {}).get(b".")
        folder, _, name = inner.rpartition(b"/")
        node = (self._listing(folder) or {}).get(name)
        if node is None or name == b"." or not node.is_directory:
            return node
        # its parent lists it without its attributes
        listing = self._listing(inner) or {}
        return node._replace(mode=listing[b"."].mode)

    def _listing(self, inner: bytes) -> Listing | None:
        """Return the entries of a folder, by its path in the directory; None if it is none."""
        if inner not in self._listings:
            self._listings[inner] = self._read_listing(inner)
        return self._listings[inner]

    def _read_listing(self, inner: bytes) -> Listing | None:
        if not inner:
            return read_listing(self.objects, self.pair)
        folder, _, name = inner.rpartition(b"/")
        node = (self._listing(folder) or {}).get(name)
        if node is None or not node.is_directory:
            return None
        return read_listing(self.objects, node.pair)

    def spelled(self, path: bytes) -> str:
        """Return a path as in a list of reads: relative in the directory and for its parents."""
        if path == self.directory or path.startswith(self.directory + b"/"):
            return os.fsdecode(self.inner(path)) or "."
        if path != b"/" and self.directory.startswith(path + b"/"):
            return "/".join([".."] * self.directory[len(path) :].count(b"/"))
        return os.fsdecode(path)

    def path_of(self, spelled: str) -> bytes:
        """Return the absolute path of a text that `spelled` returned, here or elsewhere."""
        if _ABOVE.fullmatch(spelled):
            levels = spelled.count("/") + 1
            return b"/".join(self.directory.split(b"/")[:-levels]) or b"/"
        if spelled == ".":
            return self.directory
        return os.path.join(self.directory, os.fsencode(spelled))


_ABOVE = re.compile(r"\.\.(?:/\.\.)*")


@dataclass(slots=True)
class Omitted:
    """Matches a path in a directory if a capture omits it, or a folder above it."""

    exclude: Exclude
    _folders: dict[bytes, bool] = field(default_factory=dict)

    def __call__(self, path: bytes) -> bool:
        if not path:
            return False
        return self.exclude(path, directory=False) or self._folder(path)

    def _folder(self, path: bytes) -> bool:
        if not path:
            return False
        if path not in self._folders:
            is_excluded = self.exclude(path, directory=True)
            self._folders[path] = is_excluded or self._folder(os.path.dirname(path))
        return self._folders[path]
