"""The folders of a captured directory, in a form that is compact and fast to compare.

A folder's state is one string of bytes: what the file system lists in it, marshalled. Two scans of
an unchanged folder make equal strings, so most folders of a capture are compared, kept and stored
without a Python object for each of their entries.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

from prov.store.objects import Oid
from prov.worktree.attributes import EMPTY, Pair

NO_OID = bytes(20)
"""Stands for the id of an entry without content (a fifo), or whose content is not read yet."""
_MARSHAL_VERSION = 2
"""The last version whose result depends on values only, not on which objects are shared."""

FILE_WEIGHT = 5_000
"""The cost of opening a file, in bytes to pack (14 µs at 2.8 s a GB)."""

Xattrs = tuple[tuple[bytes, bytes], ...]
"""Names and values of extended attributes."""
Owner = tuple[int, int]
Stat = tuple[int, int, int, int, int]
"""The fields of `ScannedFile` after the name."""
Link = tuple[int, int, bytes]
"""The device, inode and name of an entry with more than one link."""


class ScannedFile(NamedTuple):
    """The stat of an entry: if it is unchanged, the content is unchanged too.

    `size` is the device number of a device. Times are in nanoseconds.
    """

    name: bytes
    mode: int
    inode: int
    size: int
    mtime: int
    ctime: int


class FolderState(NamedTuple):
    """What a scan sees in one folder, sorted by name.

    `own` is the folder's mode and mtime. `names` and `stats` are those of all entries that are not
    folders. `owners` has the owners that are not root, with `.` for the directory itself.
    """

    own: tuple[int, int]
    names: Sequence[bytes]
    stats: Sequence[Stat]
    folders: Sequence[bytes]
    links: Sequence[Link] = ()
    owners: Sequence[tuple[bytes, Owner]] = ()

    def encode(self) -> bytes:
        """Return the same bytes for equal states."""
        plain: tuple[Any, ...] = tuple(self)  # marshal does not support named tuples
        return marshal.dumps(plain, _MARSHAL_VERSION)


class Folder(NamedTuple):
    """A directory of a snapshot: its state, the ids of its files, and its trees.

    `joined_oids` has 20 bytes for each of the state's entries. `links` are the state's. `stable` is
    the pair without mtimes and hardlink groups.
    """

    state: bytes
    joined_oids: bytes = b""
    links: Sequence[Link] = ()
    xattrs: Mapping[bytes, Xattrs] = {}
    recorded: Pair = EMPTY
    stable: Pair = EMPTY

    def decode(self) -> FolderState:
        return FolderState._make(marshal.loads(self.state))

    @property
    def oids(self) -> list[Oid]:
        """An id for each entry, `NO_OID` for one without content."""
        return split_oids(self.joined_oids)

    @property
    def is_empty(self) -> bool:
        state = self.decode()
        return not (state.names or state.folders)

    def files(self) -> Iterable[tuple[ScannedFile, Oid]]:
        """Yield each entry that has content, with its id."""
        state = self.decode()
        for name, row, oid in zip(state.names, state.stats, self.oids, strict=True):
            if oid != NO_OID:
                yield ScannedFile(name, *row), oid


def split_oids(joined: bytes) -> list[Oid]:
    """Return the ids in a string of ids."""
    return [joined[at : at + 20] for at in range(0, len(joined), 20)]


class FolderChange(Enum):
    """How a folder differs from the last capture, apart from its subfolders' content."""

    NONE = auto()
    ATTRIBUTES = auto()
    """Its own attributes, subfolder names, hardlinks or owners differ, but no files do."""
    ENTRIES = auto()


def change_of(
    before: Folder | None, state: FolderState, encoded: bytes, faked: Mapping[bytes, Xattrs]
) -> FolderChange:
    """Return how a folder differs from the last capture, given its state also as bytes.

    `faked` are the xattrs that fakeroot reports; the others are read only after a difference was
    found. A difference includes device numbers, which a reboot can change.
    """
    if before is None:
        return FolderChange.ENTRIES
    if before.state == encoded:
        is_same = all(before.xattrs.get(name) == xattrs for name, xattrs in faked.items())
        return FolderChange.NONE if is_same else FolderChange.ATTRIBUTES
    was = before.decode()
    is_same = was.names == state.names and was.stats == state.stats
    return FolderChange.ATTRIBUTES if is_same else FolderChange.ENTRIES


def known_oids(before: Folder | None, state: FolderState) -> bytes:
    """Return the joined ids of a folder's entries; those of unchanged files are known."""
    if before is None:
        return NO_OID * len(state.names)
    entries = zip(*before.decode()[1:3], strict=True)
    known = dict(zip(entries, before.oids, strict=True))
    return b"".join(
        [known.get(entry, NO_OID) for entry in zip(state.names, state.stats, strict=True)]
    )


def cost_of_reading(state: FolderState, joined_oids: bytes) -> int:
    """Return the cost of reading the files whose ids are unknown, in bytes to pack."""
    if not joined_oids.strip(b"\0"):
        return sum([row[2] for row in state.stats]) + FILE_WEIGHT * len(state.stats)
    return sum(
        row[2] + FILE_WEIGHT
        for row, oid in zip(state.stats, split_oids(joined_oids), strict=True)
        if oid == NO_OID
    )


PlainFolder = tuple[Any, ...]


def plain_folders(folders: Mapping[bytes, Folder]) -> dict[bytes, PlainFolder]:
    """Return folders without named tuples, which marshal does not support."""
    return {
        path: (*folder[:-2], tuple(folder.recorded), tuple(folder.stable))
        for path, folder in folders.items()
    }


def named_folders(plain: Mapping[bytes, PlainFolder]) -> dict[bytes, Folder]:
    """Return the folders that `plain_folders` was called with."""
    return {
        path: Folder._make((*parts[:-2], Pair._make(parts[-2]), Pair._make(parts[-1])))
        for path, parts in plain.items()
    }
