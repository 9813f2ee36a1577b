"""Scan a directory: the first step of a capture.

A scan lists the names and stats of all entries and compares them with the last capture's. For an
unchanged directory, this is the whole cost of a capture. So two processes scan a large directory,
and the loop over the entries is as short as possible.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, cast

from prov.errors import UnreadableError
from prov.files import set_mode, within_reach
from prov.store.objects import Oid
from prov.worktree.attributes import EMPTY, FILE_TYPE, ROOT, Pair
from prov.worktree.exclude import Exclude
from prov.worktree.parallel import in_two_processes

NO_MTIME = -(1 << 63)
"""The mtime recorded for the top, whose real one changes with each excluded entry."""
PARALLEL_ENTRIES = 20_000
DEEPEST = 2_000
"""The maximum depth of folders: git and other tools cannot handle deeper ones."""
SPLIT_FROM = 64
"""The number of folders to queue before two processes share them, which balances the halves."""
DEVICES = frozenset((stat.S_IFCHR, stat.S_IFBLK))

Xattrs = tuple[tuple[bytes, bytes], ...]
"""Names and values of extended attributes."""


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


class Folder(NamedTuple):
    """A directory of a snapshot: its own mode and mtime, its entries, and its trees.

    `oids` has an item for each of `entries`, None for an entry without content (a fifo). `links`
    has the (device, inode, name) of entries with more than one link. `owners` has the owners that
    are not root, with `.` for the directory itself. `stable` is the pair without mtimes and
    hardlink groups.
    """

    own: tuple[int, int]
    entries: tuple[ScannedFile, ...]
    folders: tuple[bytes, ...]
    oids: tuple[Oid | None, ...]
    links: tuple[tuple[int, int, bytes], ...]
    xattrs: dict[bytes, Xattrs]
    owners: dict[bytes, tuple[int, int]]
    recorded: Pair = EMPTY
    stable: Pair = EMPTY


class Faked(NamedTuple):
    """Fakeroot's attributes of an entry; they apply only while the entry has this inode."""

    inode: int
    mode: int
    owner: tuple[int, int]
    rdev: int = 0
    xattrs: Xattrs = ()


class PendingFolder(NamedTuple):
    """A folder to scan."""

    path: bytes
    mode: int
    mtime: int
    owner: tuple[int, int]


class FolderChange(Enum):
    """How a folder differs from the last capture, apart from its subfolders' content."""

    NONE = auto()
    ATTRIBUTES = auto()
    """Its own attributes, subfolder names, hardlinks or owners differ, but no files do."""
    ENTRIES = auto()


def change_of(before: Folder | None, state: Folder) -> FolderChange:
    """Return how a folder differs from the last capture.

    `state.xattrs` has only the xattrs that fakeroot reports; the others are read only after a
    difference was found.
    """
    if before is None or state.entries != before.entries:
        return FolderChange.ENTRIES
    is_same = (
        state.own == before.own
        and state.folders == before.folders
        and state.owners == before.owners
        # this includes device numbers, which a reboot can change
        and state.links == before.links
        and all(before.xattrs.get(name) == xattrs for name, xattrs in state.xattrs.items())
    )
    return FolderChange.NONE if is_same else FolderChange.ATTRIBUTES


@dataclass(slots=True)
class _Listing:
    """The entries that the file system lists in one folder."""

    entries: list[tuple[bytes, int, int, int, int, int]] = field(default_factory=list)
    """The fields of `ScannedFile`, as plain tuples, since most are only compared."""
    names: list[bytes] = field(default_factory=list)
    """The names of its subfolders; `inodes` and `folders` have the same order."""
    inodes: list[int] = field(default_factory=list)
    folders: list[PendingFolder] = field(default_factory=list)
    links: list[tuple[int, int, bytes]] = field(default_factory=list)

    def apply(self, fakes: Mapping[bytes, Faked]) -> None:
        """Replace modes, owners of folders, and device numbers with those from fakeroot."""
        for number, (name, mode, inode, size, mtime, ctime) in enumerate(self.entries):
            fake = fakes.get(name)
            if fake is not None:
                mode = fake.mode
                size = fake.rdev if mode & FILE_TYPE in DEVICES else size
                self.entries[number] = (name, mode, inode, size, mtime, ctime)
        for number, name in enumerate(self.names):
            fake = fakes.get(name)
            if fake is not None:
                folder = self.folders[number]
                self.folders[number] = folder._replace(mode=fake.mode, owner=fake.owner)


class _Part(NamedTuple):
    """The result of one of two processes; it names unchanged folders only, to be fast to send."""

    changed: dict[bytes, Folder]
    unchanged: list[bytes]
    opened: dict[bytes, int]
    vanished: list[bytes]


@dataclass(slots=True)
class Scan:
    """The result of a scan."""

    folders: dict[bytes, Folder] = field(default_factory=dict)
    """All folders by path, parents first."""
    unchanged: set[bytes] = field(default_factory=set)
    """Folders whose own mode, mtime and entries equal the last capture's."""
    vanished: list[bytes] = field(default_factory=list)
    """Folders of a live directory deleted during the scan."""
    opened: dict[bytes, int] = field(default_factory=dict)
    """The original modes of folders made readable; `Scanner.close` restores them."""

    def drop_vanished(self) -> None:
        """Remove the vanished folders from the folders that list them."""
        for path in self.vanished:
            parent, _, name = path.rpartition(b"/")
            folder = self.folders[parent]
            # entries from the cache are plain tuples
            entries = tuple(ScannedFile(*entry) for entry in folder.entries)
            names = tuple(other for other in folder.folders if other != name)
            self.folders[parent] = folder._replace(entries=entries, folders=names)
            self.unchanged.discard(parent)


@dataclass(frozen=True, slots=True)
class Scanner:
    """Scans one directory."""

    root: bytes
    before: Mapping[bytes, Folder]
    exclude: Exclude
    xattrs: frozenset[bytes] = frozenset()
    """Names of the extended attributes to record."""
    faked: Mapping[bytes, Faked] = field(default_factory=dict)
    """Fakeroot's attributes by path; they override those on disk."""
    live: bool = False
    """True if other processes may create and delete entries; vanishing entries are skipped."""

    def scan(self) -> Scan:
        """Scan the directory. Raises UnreadableError or OSError.

        A folder that its owner cannot read is made readable; call `close` after reading its files.
        """
        scan = Scan()
        try:
            return self._scan_all(scan)
        except BaseException:
            self.close(scan)
            raise

    def close(self, scan: Scan) -> None:
        """Restore the modes of folders made readable."""
        for path, mode in sorted(scan.opened.items(), reverse=True):  # deepest first
            with contextlib.suppress(OSError), within_reach(self._absolute(path)) as reachable:
                set_mode(reachable, stat.S_IMODE(mode))
        scan.opened.clear()

    def _absolute(self, path: bytes) -> bytes:
        return self.root + b"/" + path if path else self.root

    def _scan_all(self, scan: Scan) -> Scan:
        pending = [PendingFolder(b"", os.stat(self.root).st_mode, NO_MTIME, ROOT)]
        if sum(len(folder.entries) for folder in self.before.values()) < PARALLEL_ENTRIES:
            self._scan(pending, scan)
            scan.drop_vanished()
            return scan
        while pending and len(pending) < SPLIT_FROM:
            self._folder(pending.pop(0), pending, scan)
        weights = self._weights([folder.path for folder in pending])
        for part in in_two_processes(
            pending, lambda folder: weights[folder.path], in_parent=self._part, in_child=self._part
        ):
            scan.opened.update(part.opened)
            scan.vanished += part.vanished
            scan.folders.update(part.changed)
            scan.folders.update((path, self.before[path]) for path in part.unchanged)
            scan.unchanged.update(part.unchanged)
        scan.drop_vanished()
        scan.folders = dict(sorted(scan.folders.items()))  # parents first
        return scan

    def _part(self, pending: list[PendingFolder]) -> list[_Part]:
        """Scan some folders with their content."""
        scan = Scan()
        try:
            self._scan(pending, scan)
        except BaseException:
            self.close(scan)
            raise
        changed = {
            path: folder for path, folder in scan.folders.items() if path not in scan.unchanged
        }
        return [_Part(changed, list(scan.unchanged), scan.opened, scan.vanished)]

    def _weights(self, paths: list[bytes]) -> dict[bytes, int]:
        """Return the number of entries below each path in the last capture."""
        weights = dict.fromkeys(paths, 1)
        depth = max((path.count(b"/") for path in paths), default=0) + 1
        for path, folder in self.before.items():
            parts = path.split(b"/")
            for length in range(1, min(depth, len(parts)) + 1):
                top = b"/".join(parts[:length])
                if top in weights:
                    weights[top] += len(folder.entries)
                    break
        return weights

    def _scan(self, pending: list[PendingFolder], scan: Scan) -> None:
        while pending:
            self._folder(pending.pop(), pending, scan)

    def _folder(self, folder: PendingFolder, pending: list[PendingFolder], scan: Scan) -> None:
        path = folder.path
        if path.count(b"/") >= DEEPEST:
            raise UnreadableError(
                f"{os.fsdecode(self._absolute(path[:200]))}…: more than {DEEPEST} nested folders",
                path,
                hint="delete it, or exclude it",
            )
        try:
            with within_reach(self._absolute(path)) as reachable:
                try:
                    self._list(folder, reachable, pending, scan)
                except PermissionError as error:
                    self._open(path, reachable, scan, error)
                    self._list(folder, reachable, pending, scan)
        except (FileNotFoundError, NotADirectoryError):
            if not self.live or not path:
                raise
            scan.vanished.append(path)

    def _open(self, path: bytes, reachable: bytes, scan: Scan, error: PermissionError) -> None:
        """Make a folder readable for its owner until `close`. Raises UnreadableError."""
        mode = os.lstat(reachable).st_mode
        try:
            set_mode(reachable, stat.S_IRWXU, add=True)
        except OSError:
            message = f"cannot read {os.fsdecode(self._absolute(path))}: {error.strerror}"
            raise UnreadableError(
                message, path, hint="give its owner read permission, or exclude it"
            ) from error
        scan.opened[path] = mode

    def _list(
        self, folder: PendingFolder, reachable: bytes, pending: list[PendingFolder], scan: Scan
    ) -> None:
        """List one folder, compare it with the last capture, and queue its subfolders."""
        path = folder.path
        listing = self._read(path, reachable)
        owners = {} if folder.owner == ROOT else {b".": folder.owner}
        xattrs: dict[bytes, Xattrs] = {}
        if self.faked:
            fakes = self._fakes(path, listing)
            listing.apply(fakes)
            files = {entry[0]: fakes[entry[0]] for entry in listing.entries if entry[0] in fakes}
            owners |= {name: fake.owner for name, fake in files.items() if fake.owner != ROOT}
            xattrs = {name: fake.xattrs for name, fake in files.items() if fake.xattrs}
        pending += listing.folders
        listing.entries.sort()
        listing.names.sort()
        listing.links.sort()
        state = Folder(
            own=(folder.mode, folder.mtime),
            # plain tuples, which are faster to create and equal to named ones
            entries=cast(tuple[ScannedFile, ...], tuple(listing.entries)),
            folders=tuple(listing.names),
            oids=(),
            links=tuple(listing.links),
            xattrs=xattrs,
            owners=owners,
        )
        before = self.before.get(path)
        change = change_of(before, state)
        if before is not None and change is FolderChange.NONE:
            scan.unchanged.add(path)
            scan.folders[path] = before
            return
        oids: tuple[Oid | None, ...] = (None,) * len(state.entries)
        if before is not None and change is FolderChange.ATTRIBUTES:
            oids, stored_xattrs = before.oids, before.xattrs
        else:
            stored_xattrs = self._xattrs(reachable, [entry[0] for entry in state.entries])
        scan.folders[path] = state._replace(
            entries=tuple(map(ScannedFile._make, state.entries)),
            oids=oids,
            xattrs=stored_xattrs | xattrs,
        )

    def _read(self, path: bytes, reachable: bytes) -> _Listing:
        """Return the entries of a folder that are not excluded, in the file system's order."""
        listing = _Listing()
        prefix = path + b"/" if path else b""
        # bound once: this loop is most of the cost of an unchanged directory
        exclude = self.exclude if self.exclude.may_match(path) else None
        add_entry = listing.entries.append
        with os.scandir(reachable) as entries:
            for entry in entries:
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    if not self.live:
                        raise
                    continue
                name, mode = entry.name, state.st_mode
                kind = mode & FILE_TYPE
                if exclude is not None and exclude(prefix + name, directory=kind == stat.S_IFDIR):
                    continue
                if kind == stat.S_IFDIR:
                    listing.names.append(name)
                    listing.inodes.append(state.st_ino)
                    listing.folders.append(
                        PendingFolder(prefix + name, mode, state.st_mtime_ns, ROOT)
                    )
                    continue
                size = state.st_rdev if kind in DEVICES else state.st_size
                add_entry((name, mode, state.st_ino, size, state.st_mtime_ns, state.st_ctime_ns))
                if state.st_nlink > 1:
                    listing.links.append((state.st_dev, state.st_ino, name))
        return listing

    def _fakes(self, path: bytes, listing: _Listing) -> dict[bytes, Faked]:
        """Return fakeroot's attributes of a folder's entries, by name."""
        inodes = {entry[0]: entry[2] for entry in listing.entries}
        inodes.update(zip(listing.names, listing.inodes, strict=True))
        prefix = path + b"/" if path else b""
        fakes = {name: self.faked.get(prefix + name) for name in inodes}
        return {name: fake for name, fake in fakes.items() if fake and fake.inode == inodes[name]}

    def _xattrs(self, reachable: bytes, names: list[bytes]) -> dict[bytes, Xattrs]:
        if not self.xattrs:
            return {}
        by_name = {name: self._read_xattrs(reachable + b"/" + name) for name in names}
        return {name: xattrs for name, xattrs in by_name.items() if xattrs}

    def _read_xattrs(self, path: bytes) -> Xattrs:
        names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
        allowed = [name for name in names if name in self.xattrs]
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in allowed)
