"""The state of a path as text, to decide whether a later command would see the same.

    file 644 OID        a regular file: permissions, and the id of its content as a git blob
    file 644            a file that the command replaced or deleted without reading it
    link TARGET         a symbolic link
    directory 755       a directory
    directory 755 ID    a listed directory: ID is a digest of names and types
    special 20666       another type: `st_mode`
    missing             nothing
    blocked             nothing, because a folder on the way is a file
    linked              unknown, because a folder on the way is a link: no trace has this state

Times, sizes, owners, inode numbers and link counts are not part of it. In place of its times, which
make compares, a file that was only inspected counts with its content.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prov.files import TICK_NS, read_cache, write_cache
from prov.reads.file_calls import KERNEL_FILES
from prov.reads.namespace import joined
from prov.reads.recorded import Recorded
from prov.store.objects import Oid, object_id
from prov.store.packs import blob_id_of_stream

MISSING = "missing"
BLOCKED = "blocked"
LINKED = "linked"
_CACHE_FORMAT = 1
_TYPES = {stat.S_IFREG: b"f", stat.S_IFDIR: b"d", stat.S_IFLNK: b"l"}


class _Stat(NamedTuple):
    mode: int
    inode: int
    size: int
    mtime: int
    ctime: int


def _stat(path: bytes) -> _Stat:
    state = os.lstat(path)
    return _Stat(state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@dataclass(slots=True)
class FileIds:
    """The ids of files on disk, each read once and then remembered by its stat."""

    memory: Path
    """The cache file; you can delete it at any time."""
    _known: dict[bytes, tuple[_Stat, Oid]] = field(default_factory=dict)
    _changed: bool = False

    @staticmethod
    def load(memory: Path) -> FileIds:
        """Return the remembered ids."""
        cached = read_cache(memory)
        if cached is None or cached[0] != _CACHE_FORMAT:
            return FileIds(memory)
        known = {path: (_Stat(*state), oid) for path, state, oid in cached[1]}
        return FileIds(memory, known)

    def oid(self, path: bytes) -> Oid:
        """Return the id of a file's content as a git blob. Raises OSError."""
        before = _stat(path)
        known = self._known.get(path)
        if known is not None and known[0] == before:
            return known[1]
        with open(path, "rb") as stream:
            if KERNEL_FILES.fullmatch(path):  # its size and times are invalid
                return object_id("blob", stream.read())
            oid = blob_id_of_stream(stream, before.size)
        # another write within a clock tick would not change the stat
        if _stat(path) == before and before.ctime < time.time_ns() - TICK_NS:
            self._known[path] = before, oid
            self._changed = True
        return oid

    def save(self) -> None:
        """Write the cache file."""
        if self._changed:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            rows = [(path, tuple(state), oid) for path, (state, oid) in self._known.items()]
            write_cache(self.memory, (_CACHE_FORMAT, rows))
            self._changed = False


@dataclass(slots=True)
class States:
    """The states of paths, before a command or now."""

    files: Recorded
    contents: FileIds
    _obstacles: dict[bytes, str] = field(default_factory=dict)

    def state(self, path: bytes, kinds: str) -> str:
        """Return the state of a path that matters to some uses (`prov.reads.reads.KINDS`).

        Raises OSError if a file cannot be read.
        """
        obstacle = self._obstacle(os.path.dirname(path))
        if obstacle:
            return obstacle
        before = self.files.lookup(path)
        if before is None:
            return MISSING
        if before.is_link:
            return f"link {os.fsdecode(before.target)}"
        permissions = f"{stat.S_IMODE(before.mode):o}"
        if before.is_directory and "d" in kinds:
            return f"directory {permissions} {self._listing(path)}"
        if before.is_directory:
            return f"directory {permissions}"
        if not stat.S_ISREG(before.mode):
            return f"special {before.mode:o}"
        if set(kinds) <= {"w"}:
            return f"file {permissions}"
        return f"file {permissions} {self._oid(path).hex()}"

    def _oid(self, path: bytes) -> Oid:
        if self.files.is_inside(path):
            node = self.files.node(path)
            if node is not None:
                return node.oid
        return self.contents.oid(path)

    def _listing(self, path: bytes) -> str:
        """Return a digest of the names in a directory, and of their types."""
        digest = hashlib.sha1()
        for name in self.files.names(path):
            before = self.files.lookup(joined(path, name))
            if before is not None:
                kind = _TYPES.get(stat.S_IFMT(before.mode), b"s")
                digest.update(b"%s %s\0" % (kind, name))
        return digest.hexdigest()

    def _obstacle(self, folder: bytes) -> str:
        """Return the state below a folder if it, or one above it, is none; empty if all are."""
        if folder == b"/":
            return ""
        if folder not in self._obstacles:
            obstacle = self._obstacle(os.path.dirname(folder))
            before = self.files.lookup(folder)
            if not obstacle and before is not None and not before.is_directory:
                obstacle = LINKED if before.is_link else BLOCKED
            self._obstacles[folder] = obstacle
        return self._obstacles[folder]

    def has_changed_since(self, path: bytes, began: int) -> bool:
        """Return whether an object on disk may have changed after a time, in nanoseconds.

        Always False for what the recorded state decides, and for the kernel's settings.
        """
        if self.files.is_inside(path) or KERNEL_FILES.fullmatch(path):
            return False
        try:
            state = _stat(path)
        except OSError:
            return False
        return max(state.mtime, state.ctime) > began - TICK_NS
