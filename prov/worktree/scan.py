"""The first step of a capture: names and stats of everything in a directory, compared with what is
remembered.

This is what a capture of an unchanged directory costs, so that it is done by two processes when
much is remembered, and with as little work per entry as Python allows.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.errors import UnreadableError
from prov.files import set_mode, within_reach
from prov.store.objects import Oid
from prov.worktree.attributes import EMPTY, ROOT, Pair
from prov.worktree.exclude import Exclude
from prov.worktree.parallel import in_two_processes

NO_MTIME = -(1 << 63)
"""The top's: it says nothing of the content, since it moves when an excluded entry comes or
goes.
"""
PARALLEL_ENTRIES = 20_000
DEEPEST = 2_000
"""Folders inside each other: what is deeper is no content that git and other tools could handle."""
SPLIT_FROM = 64
"""Folders to have in hand before they are shared out, so that two halves weigh about the same."""


class ScannedFile(NamedTuple):
    """What a scan knows of an entry; if all of it is as remembered, so is the content.

    A device has its number for a size.
    """

    name: bytes
    mode: int
    inode: int
    size: int
    mtime: int
    ctime: int


class Folder(NamedTuple):
    """A directory of a snapshot: its own mode and mtime, its entries, what they are, and its trees.

    `oids` goes with `entries`; None for what has no content (a fifo). `links` holds (device, inode,
    name) of entries with more than one link. `owners` holds those that are not root's, `.` being
    the directory itself. `stable` is the pair without mtimes and without hardlink groups.
    """

    own: tuple[int, int]
    entries: tuple[ScannedFile, ...]
    folders: tuple[bytes, ...]
    oids: tuple[Oid | None, ...]
    links: tuple[tuple[int, int, bytes], ...]
    xattrs: dict[bytes, tuple[tuple[bytes, bytes], ...]]
    owners: dict[bytes, tuple[int, int]]
    recorded: Pair = EMPTY
    stable: Pair = EMPTY


class Faked(NamedTuple):
    """What fakeroot says of an entry.

    It is true of what has this inode, and of nothing that came later.
    """

    inode: int
    mode: int
    owner: tuple[int, int]
    rdev: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


Pending = tuple[bytes, int, int, tuple[int, int]]
"""A folder to be scanned: path, mode, mtime, owner."""


_Part = tuple[dict[bytes, Folder], list[bytes], dict[bytes, int], list[bytes]]
"""What a process scanned: changed folders, and the unchanged, opened and vanished ones."""


@dataclass(slots=True)
class Scan:
    """Folders by path, each after the one that it is in."""

    folders: dict[bytes, Folder] = field(default_factory=dict)
    unchanged: set[bytes] = field(default_factory=set)
    """Folders whose own mode, mtime and entries are as remembered."""
    vanished: list[bytes] = field(default_factory=list)
    """Folders of a live directory that were deleted during the scan."""

    def drop_vanished(self) -> None:
        """Remove the vanished folders from the folders that list them."""
        for path in self.vanished:
            parent, _, name = path.rpartition(b"/")
            folder = self.folders[parent]
            entries = tuple(
                ScannedFile(*entry) for entry in folder.entries
            )  # those from the memory are plain tuples
            names = tuple(other for other in folder.folders if other != name)
            self.folders[parent] = folder._replace(entries=entries, folders=names)
            self.unchanged.discard(parent)

    opened: dict[bytes, int] = field(default_factory=dict)
    """Folders that were made readable, and the modes that they get back: see `close`."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """Scans one directory."""

    root: bytes
    before: Mapping[bytes, Folder]
    exclude: Exclude
    xattrs: frozenset[bytes] = frozenset()
    """Names of the extended attributes that are recorded."""
    faked: Mapping[bytes, Faked] = field(default_factory=dict)
    """By path, what fakeroot says: it goes over what is on disk."""
    live: bool = False
    """Other processes create and delete entries meanwhile: skip what vanishes during the scan."""

    def scan(self) -> Scan:
        """Return everything in the directory. Raises UnreadableError, or OSError.

        A folder that its owner may not read is made readable; `close` it when its files have been
        read.
        """
        scan = Scan()
        try:
            return self._scan_all(scan)
        except BaseException:
            self.close(scan)
            raise

    def close(self, scan: Scan) -> None:
        """Give the folders that were made readable their own modes again."""
        for path, mode in sorted(scan.opened.items(), reverse=True):  # the deepest first
            with contextlib.suppress(OSError), within_reach(self._where(path)) as where:
                set_mode(where, stat.S_IMODE(mode))
        scan.opened.clear()

    def _where(self, path: bytes) -> bytes:
        return self.root + b"/" + path if path else self.root

    def _scan_all(self, scan: Scan) -> Scan:
        pending: list[Pending] = [(b"", os.stat(self.root).st_mode, NO_MTIME, ROOT)]
        if sum(len(folder.entries) for folder in self.before.values()) < PARALLEL_ENTRIES:
            self._scan(pending, scan)
            scan.drop_vanished()
            return scan
        while pending and len(pending) < SPLIT_FROM:
            self._folder(pending.pop(0), pending, scan)
        weights = self._weights([path for path, *_ in pending])
        for part in in_two_processes(
            pending, lambda one: weights[one[0]], here=self._part, there=self._part
        ):
            folders, unchanged, opened, vanished = part
            scan.opened.update(opened)
            scan.vanished += vanished
            scan.folders.update(folders)
            scan.folders.update((path, self.before[path]) for path in unchanged)
            scan.unchanged.update(unchanged)
        scan.drop_vanished()
        scan.folders = dict(sorted(scan.folders.items()))  # a folder before those in it
        return scan

    def _part(self, pending: list[Pending]) -> list[_Part]:
        """Scan some folders with all that is in them; what is unchanged is told by name, to be
        quick to pass on.
        """
        scan = Scan()
        try:
            self._scan(pending, scan)
        except BaseException:
            self.close(scan)
            raise
        changed = {
            path: folder for path, folder in scan.folders.items() if path not in scan.unchanged
        }
        return [(changed, list(scan.unchanged), scan.opened, scan.vanished)]

    def _weights(self, paths: list[bytes]) -> dict[bytes, int]:
        """Return how many entries are remembered below each path."""
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

    def _scan(self, pending: list[Pending], scan: Scan) -> None:
        while pending:
            self._folder(pending.pop(), pending, scan)

    def _folder(self, folder: Pending, pending: list[Pending], scan: Scan) -> None:
        path = folder[0]
        if path.count(b"/") >= DEEPEST:
            raise UnreadableError(
                f"{os.fsdecode(self._where(path[:200]))}…: more than {DEEPEST} folders inside each"
                " other",
                path,
            )
        try:
            with within_reach(self._where(path)) as where:
                try:
                    self._list(folder, where, pending, scan)
                except PermissionError as error:
                    self._open(path, where, scan, error)
                    self._list(folder, where, pending, scan)
        except (FileNotFoundError, NotADirectoryError):
            if not self.live or not path:
                raise
            scan.vanished.append(path)

    def _open(self, path: bytes, where: bytes, scan: Scan, error: PermissionError) -> None:
        """Make a folder readable for its owner, until the capture is over.

        Raises UnreadableError.
        """
        mode = os.lstat(where).st_mode
        try:
            set_mode(where, stat.S_IRWXU, add=True)
        except OSError:
            message = f"{os.fsdecode(self._where(path))}: can't be read: {error.strerror}"
            raise UnreadableError(
                message, path, hint="give its owner read permission, or exclude it"
            ) from error
        scan.opened[path] = mode

    def _list(self, folder: Pending, where: bytes, pending: list[Pending], scan: Scan) -> None:
        path, mode, mtime, owner = folder
        prefix = path + b"/" if path else b""
        entries: list[tuple[bytes, int, int, int, int, int]] = []
        names: list[bytes] = []
        inside: list[Pending] = []
        links: list[tuple[int, int, bytes]] = []
        owners = {} if owner == ROOT else {b".": owner}
        faked_xattrs: dict[bytes, tuple[tuple[bytes, bytes], ...]] = {}
        # bound once: this loop is most of what an unchanged directory costs
        exclude = self.exclude if self.exclude.may_match(path) else None
        add, faked = entries.append, self.faked
        with os.scandir(where) as listing:
            for entry in listing:
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    if not self.live:
                        raise
                    continue
                name, kind = entry.name, state.st_mode
                directory = kind & 0o170000 == 0o040000
                if exclude is not None and exclude(prefix + name, directory=directory):
                    continue
                told = faked.get(prefix + name) if faked else None
                if told is not None and told.inode != state.st_ino:
                    told = None
                if directory:
                    names.append(name)
                    at = (told.mode, told.owner) if told is not None else (kind, ROOT)
                    inside.append((prefix + name, at[0], state.st_mtime_ns, at[1]))
                    continue
                rdev = state.st_rdev
                if told is not None:
                    kind, rdev = told.mode, told.rdev
                    if told.owner != ROOT:
                        owners[name] = told.owner
                    if told.xattrs:
                        faked_xattrs[name] = told.xattrs
                size = rdev if stat.S_ISCHR(kind) or stat.S_ISBLK(kind) else state.st_size
                add((name, kind, state.st_ino, size, state.st_mtime_ns, state.st_ctime_ns))
                if state.st_nlink > 1:
                    links.append((state.st_dev, state.st_ino, name))
        pending += inside
        entries.sort()
        names.sort()
        old = self.before.get(path)
        same = old is not None and tuple(entries) == old.entries
        unmoved = old is not None and old.own == (mode, mtime) and tuple(names) == old.folders
        if old is not None and (
            owners != old.owners
            or any(old.xattrs.get(at) != faked_xattrs[at] for at in faked_xattrs)
        ):
            unmoved = False
        # a device may have another number since the last boot
        if old is not None and same and unmoved and tuple(sorted(links)) == old.links:
            scan.unchanged.add(path)
            scan.folders[path] = old
            return
        oids = old.oids if old is not None and same else (None,) * len(entries)
        xattrs = (
            old.xattrs
            if old is not None and same
            else self._xattrs(where, [each[0] for each in entries])
        )
        if faked_xattrs:
            xattrs = xattrs | faked_xattrs
        seen = tuple(ScannedFile(*each) for each in entries)
        scan.folders[path] = Folder(
            (mode, mtime), seen, tuple(names), oids, tuple(sorted(links)), xattrs, owners
        )

    def _xattrs(
        self, where: bytes, names: list[bytes]
    ) -> dict[bytes, tuple[tuple[bytes, bytes], ...]]:
        if not self.xattrs:
            return {}
        held = {name: self._read_xattrs(where + b"/" + name) for name in names}
        return {name: values for name, values in held.items() if values}

    def _read_xattrs(self, path: bytes) -> tuple[tuple[bytes, bytes], ...]:
        names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
        allowed = [name for name in names if name in self.xattrs]
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in allowed)
