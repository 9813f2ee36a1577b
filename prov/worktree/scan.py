"""Scan a directory: the first step of a capture.

A scan lists the names and stats of all entries and compares them with the last capture's. For an
unchanged directory, this is the whole cost of a capture. So two processes scan a large directory,
and no statement runs for each entry: a folder's names, stats and comparison are one call each.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from prov.errors import UnreadableError
from prov.files import set_mode, within_reach
from prov.worktree.attributes import FILE_TYPE, ROOT
from prov.worktree.exclude import Exclude
from prov.worktree.folders import (
    Folder,
    FolderChange,
    FolderState,
    Link,
    Owner,
    Stat,
    Xattrs,
    change_of,
    cost_of_reading,
    known_oids,
)
from prov.worktree.parallel import by_turns

NO_MTIME = -(1 << 63)
"""The mtime recorded for the top, whose real one changes with each excluded entry."""
DEEPEST = 2_000
"""The maximum depth of folders: git and other tools cannot handle deeper ones."""
PARALLEL_ENTRIES = 4_000
"""The number of entries after which two processes share the rest: a fork costs as much as 2,000."""
SPLIT_FROM = 64
"""The number of folders to queue before two processes share them, which balances the halves."""
DEVICES = frozenset((stat.S_IFCHR, stat.S_IFBLK))
_stat_of = attrgetter("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


def has_content(mode: int) -> bool:
    """Return whether git can store an entry of this mode: a regular file or a link."""
    return mode & FILE_TYPE in (stat.S_IFREG, stat.S_IFLNK)


class Faked(NamedTuple):
    """Fakeroot's attributes of an entry; they apply only while the entry has this inode."""

    inode: int
    mode: int
    owner: Owner
    rdev: int = 0
    xattrs: Xattrs = ()


class PendingFolder(NamedTuple):
    """A folder to scan."""

    path: bytes
    mode: int
    mtime: int
    owner: Owner

    @property
    def name(self) -> bytes:
        return self.path[self.path.rfind(b"/") + 1 :]


@dataclass(slots=True)
class _Listing:
    """The entries that the file system lists in one folder, sorted by name."""

    names: list[bytes]
    stats: list[Stat]
    folders: list[PendingFolder]
    inodes: list[int]
    """The inodes of its subfolders."""
    links: list[Link]

    def apply(self, fakes: Mapping[bytes, Faked]) -> None:
        """Replace modes, owners of folders, and device numbers with those from fakeroot."""
        for number, (_, inode, size, mtime, ctime) in enumerate(self.stats):
            fake = fakes.get(self.names[number])
            if fake is not None:
                size = fake.rdev if fake.mode & FILE_TYPE in DEVICES else size
                self.stats[number] = (fake.mode, inode, size, mtime, ctime)
        for number, folder in enumerate(self.folders):
            fake = fakes.get(folder.name)
            if fake is not None:
                self.folders[number] = folder._replace(mode=fake.mode, owner=fake.owner)


def _listing(below: bytes, names: list[bytes], states: list[os.stat_result]) -> _Listing:
    """Separate the entries of one folder; `below` is the folder's path with a slash."""
    stats: list[Stat] = list(map(_stat_of, states))
    special = [at for at, row in enumerate(stats) if row[0] & FILE_TYPE != stat.S_IFREG]
    linked = {at for at, state in enumerate(states) if state.st_nlink > 1}
    listing = _Listing(names, stats, [], [], [])
    folders = set()
    for at in special:
        mode, inode, _, mtime, ctime = stats[at]
        if mode & FILE_TYPE == stat.S_IFDIR:
            listing.folders.append(PendingFolder(below + names[at], mode, mtime, ROOT))
            listing.inodes.append(inode)
            folders.add(at)
        elif mode & FILE_TYPE in DEVICES:
            stats[at] = (mode, inode, states[at].st_rdev, mtime, ctime)
    listing.links = sorted(
        (states[at].st_dev, states[at].st_ino, names[at]) for at in linked - folders
    )
    if folders:
        listing.names = [name for at, name in enumerate(names) if at not in folders]
        listing.stats = [row for at, row in enumerate(stats) if at not in folders]
    return listing


@dataclass(slots=True)
class Scan:
    """The result of a scan."""

    folders: dict[bytes, Folder] = field(default_factory=dict)
    """All folders by path, parents first."""
    unread: dict[bytes, int] = field(default_factory=dict)
    """The changed folders, with the bytes to read in their files and `FILE_WEIGHT` for each."""
    unchanged: set[bytes] = field(default_factory=set)
    """Folders whose own mode, mtime and entries equal the last capture's."""
    vanished: list[bytes] = field(default_factory=list)
    """Folders of a live directory deleted during the scan."""
    opened: dict[bytes, int] = field(default_factory=dict)
    """The original modes of folders made readable; `Scanner.close` restores them."""

    def add(self, part: Scan, before: Mapping[bytes, Folder]) -> None:
        """Add what a process has scanned; it sends the paths of unchanged folders only."""
        self.folders.update(part.folders)
        self.folders.update((path, before[path]) for path in part.unchanged)
        self.unread.update(part.unread)
        self.unchanged.update(part.unchanged)
        self.vanished += part.vanished
        self.opened.update(part.opened)

    def drop_vanished(self) -> None:
        """Remove the vanished folders from the folders that list them."""
        for path in self.vanished:
            parent, _, name = path.rpartition(b"/")
            folder = self.folders[parent]
            state = folder.decode()
            names = [other for other in state.folders if other != name]
            self.folders[parent] = folder._replace(state=state._replace(folders=names).encode())
            self.unread.setdefault(parent, 0)
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
        pending = deque([PendingFolder(b"", os.stat(self.root).st_mode, NO_MTIME, ROOT)])
        entries = 0
        while pending and (entries < PARALLEL_ENTRIES or len(pending) < SPLIT_FROM):
            entries += self._folder(pending.popleft(), pending, scan)
        if pending and len(os.sched_getaffinity(0)) > 1:
            for part in by_turns(list(pending), self._part, "scanning folders"):
                scan.add(part, self.before)
        else:
            self._below(pending, scan)
        scan.drop_vanished()
        scan.folders = dict(sorted(scan.folders.items()))  # parents first
        return scan

    def _part(self, folders: Iterable[PendingFolder]) -> Scan:
        """Scan some folders with their content; return the unchanged ones by their paths only."""
        scan = Scan()
        try:
            for folder in folders:
                self._below(deque([folder]), scan)
        except BaseException:
            self.close(scan)
            raise
        for path in scan.unchanged:
            del scan.folders[path]
        return scan

    def _below(self, pending: deque[PendingFolder], scan: Scan) -> None:
        while pending:
            self._folder(pending.pop(), pending, scan)

    def _folder(self, folder: PendingFolder, pending: deque[PendingFolder], scan: Scan) -> int:
        """Scan one folder and queue its subfolders; return the number of its entries."""
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
                    listing = self._read(path, reachable)
                except PermissionError as error:
                    self._open(path, reachable, scan, error)
                    listing = self._read(path, reachable)
                self._compare(folder, reachable, listing, scan)
        except (FileNotFoundError, NotADirectoryError):
            if not self.live or not path:
                raise
            scan.vanished.append(path)
            return 0
        pending += listing.folders
        return len(listing.names)

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

    def _compare(
        self, folder: PendingFolder, reachable: bytes, listing: _Listing, scan: Scan
    ) -> None:
        """Compare one folder with the last capture."""
        path = folder.path
        owners = [] if folder.owner == ROOT else [(b".", folder.owner)]
        faked: dict[bytes, Xattrs] = {}
        if self.faked:
            fakes = self._fakes(path, listing)
            listing.apply(fakes)
            files = [(name, fakes[name]) for name in listing.names if name in fakes]
            owners += [(name, fake.owner) for name, fake in files if fake.owner != ROOT]
            faked = {name: fake.xattrs for name, fake in files if fake.xattrs}
        state = FolderState(
            (folder.mode, folder.mtime),
            listing.names,
            listing.stats,
            [inside.name for inside in listing.folders],
            listing.links,
            owners,
        )
        encoded = state.encode()
        before = self.before.get(path)
        change = change_of(before, state, encoded, faked)
        if before is not None and change is FolderChange.NONE:
            scan.unchanged.add(path)
            scan.folders[path] = before
            return
        if before is not None and change is FolderChange.ATTRIBUTES:
            oids, xattrs = before.joined_oids, dict(before.xattrs)
        else:
            oids, xattrs = known_oids(before, state), self._xattrs(reachable, listing.names)
        scan.folders[path] = Folder(encoded, oids, state.links, xattrs | faked)
        scan.unread[path] = cost_of_reading(state, oids)

    def _read(self, path: bytes, reachable: bytes) -> _Listing:
        """Return the entries of a folder that are not excluded."""
        names = os.listdir(reachable)
        names.sort()
        prefix = reachable + b"/"
        try:
            states = list(map(os.lstat, [prefix + name for name in names]))
        except FileNotFoundError:
            if not self.live:
                raise
            names, states = _existing(names, prefix)
        below = path + b"/" if path else b""
        if self.exclude.may_match(path, names):
            names, states = self._included(below, names, states)
        return _listing(below, names, states)

    def _included(
        self, below: bytes, names: list[bytes], states: list[os.stat_result]
    ) -> tuple[list[bytes], list[os.stat_result]]:
        """Return the entries that are not excluded."""
        included = [
            (name, state)
            for name, state in zip(names, states, strict=True)
            if not self.exclude(below + name, directory=stat.S_ISDIR(state.st_mode))
        ]
        return [name for name, _ in included], [state for _, state in included]

    def _fakes(self, path: bytes, listing: _Listing) -> dict[bytes, Faked]:
        """Return fakeroot's attributes of a folder's entries, by name."""
        inodes = {name: row[1] for name, row in zip(listing.names, listing.stats, strict=True)}
        for folder, inode in zip(listing.folders, listing.inodes, strict=True):
            inodes[folder.name] = inode
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


def _existing(names: list[bytes], prefix: bytes) -> tuple[list[bytes], list[os.stat_result]]:
    """Return the names that still exist, and their stats."""
    remaining, states = [], []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            states.append(os.lstat(prefix + name))
            remaining.append(name)
    return remaining, states
