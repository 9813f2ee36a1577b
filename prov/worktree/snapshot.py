"""Record a directory as two trees: `capture` returns a `Snapshot`.

A capture has four steps. It scans the names and stats of all entries. It reads the files whose stat
has changed since the last capture, in two processes if there is much to read. It writes the trees,
from the leaves up. Last, `remember` writes a cache for the next capture.

All recorded content was in the directory. A file that changes while it is read is read again; if it
keeps changing, the capture fails. A file modified within a clock tick of the scan is read again by
the next capture, because another write within that tick would not change its stat.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import CaptureError, UnreadableError
from prov.files import read_cache, set_mode, within_reach, write_cache
from prov.processes import without_collecting
from prov.progress import counted
from prov.store.objects import EMPTY_TREE, MODE_EXECUTABLE, MODE_FILE, Entry, Oid, escape_name
from prov.store.odb import ObjectWriter
from prov.store.packs import STREAM_CHUNK
from prov.store.repository import Store
from prov.worktree.attributes import (
    BLOB_NAME,
    ROOT,
    FileNode,
    Pair,
    add_directory,
    attribute_line,
    git_mode,
)
from prov.worktree.exclude import Exclude
from prov.worktree.parallel import in_two_processes
from prov.worktree.scan import NO_MTIME, Faked, Folder, Scan, ScannedFile, Scanner

CACHE_FORMAT = 2
TICK_NS = 20_000_000
"""Twice the tick of the coarsest clock by which Linux dates files (10 ms at HZ=100)."""
STREAM_FROM = 16 << 20
"""Size in bytes from which files are read in chunks."""
PARALLEL_BYTES = 48 << 20
PARALLEL_FILES = 8_000
FILE_WEIGHT = 20_000
"""The cost of opening a file, in bytes to pack (27 µs at 1.4 s a GB)."""
READ_AGAIN = 5
REPLACED = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENXIO,
    errno.ESTALE,
)
"""Errors of reading a file deleted or replaced by another type of entry since the scan."""

_CHANGED = -1
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NANO = 1_000_000_000
_ORDINARY = frozenset((MODE_FILE, MODE_EXECUTABLE, stat.S_IFLNK | 0o777))
"""Modes that need no attribute line: git's own modes of files, and links."""
_TO_ESCAPE = re.compile(rb"[ \\\t\n]")


@dataclass(slots=True)
class Snapshot:
    """A captured directory: its pair with mtimes, and each folder in it by its path."""

    pair: Pair
    folders: dict[bytes, Folder]
    read: int = 0
    """The number of files read."""
    as_remembered: bool = False
    """True if the directory is unchanged since the last capture."""

    def output(self, path: bytes, writer: ObjectWriter) -> Pair | None:
        """Return the directory at a path without mtimes, with its internal hardlink groups."""
        folder = self.folders.get(path)
        if folder is None:
            return None
        inside = {
            at: inner
            for at, inner in self.folders.items()
            if not path or at == path or at.startswith(path + b"/")
        }
        groups = _link_groups(inside)
        if not groups:
            return folder.stable
        return _Trees(writer, inside, groups).stable_with_links(path)


def capture(
    store: Store,
    directory: Path,
    writer: ObjectWriter,
    *,
    memory: Path | None = None,
    exclude: Exclude | None = None,
    xattrs: Iterable[str] = (),
    faked: Mapping[bytes, Faked] | None = None,
    live: bool = False,
) -> Snapshot:
    """Record a directory.

    `memory` is a cache file that makes the next capture fast; you can delete it at any time.
    `faked` has fakeroot's attributes by path; without it, root owns all entries, and other
    attributes are those on disk. `live` means that other processes may create, change and delete
    entries: entries that vanish or keep changing are then skipped.

    The objects are durable when `writer` is finished; call `remember` after that. Raises
    CaptureError if an entry cannot be read or keeps changing.
    """
    with without_collecting():
        return _capture(
            store, directory, writer, memory, exclude or Exclude(), xattrs, faked or {}, live=live
        )


def _capture(
    store: Store,
    directory: Path,
    writer: ObjectWriter,
    memory: Path | None,
    exclude: Exclude,
    xattrs: Iterable[str],
    faked: Mapping[bytes, Faked],
    *,
    live: bool,
) -> Snapshot:
    clock = time.time_ns()
    before = _recall(memory, store)
    root = os.fsencode(directory)
    allowed = frozenset(os.fsencode(name) for name in xattrs)
    scanner = Scanner(root, before, exclude, allowed, faked, live)
    try:
        scan = scanner.scan()
    except OSError as error:
        raise CaptureError(
            f"cannot capture {directory}: {error}",
            hint="give its owner read permission, or exclude it",
        ) from error
    try:
        unread = _unknown_files(scan, before)
        fresh = _read_files(store, root, unread, writer, live=live)
    finally:
        scanner.close(scan)
    vanished: dict[bytes, set[bytes]] = {}
    for (path, number, scanned), read in zip(unread, fresh, strict=True):
        folder = scan.folders[path]
        if read is None:
            vanished.setdefault(path, set()).add(scanned.name)
            continue
        oid, file = read
        oids, entries = list(folder.oids), list(folder.entries)
        oids[number], entries[number] = oid, file
        scan.folders[path] = folder._replace(oids=tuple(oids), entries=tuple(entries))
    for path, names in vanished.items():
        scan.folders[path] = _without(scan.folders[path], names)
    trees = _Trees(writer, scan.folders, _link_groups(scan.folders))
    pair = trees.record(before, scan.unchanged)
    _forget_young(scan, clock - TICK_NS)
    same = bool(before) and len(scan.unchanged) == len(scan.folders) == len(before)
    return Snapshot(pair, scan.folders, len(unread), same)


def _without(folder: Folder, names: set[bytes]) -> Folder:
    """Return a folder without the files that vanished during the capture."""
    remaining = [
        (file, oid)
        for file, oid in zip(folder.entries, folder.oids, strict=True)
        if file[0] not in names
    ]
    return folder._replace(
        entries=tuple(file for file, _ in remaining),
        oids=tuple(oid for _, oid in remaining),
        links=tuple(link for link in folder.links if link[2] not in names),
        xattrs={name: values for name, values in folder.xattrs.items() if name not in names},
        owners={name: owner for name, owner in folder.owners.items() if name not in names},
    )


def _forget_young(scan: Scan, since: int) -> None:
    """Make the next scan read files modified since a time again.

    Another write so soon after could leave the same stat.
    """
    for path in scan.folders.keys() - scan.unchanged:
        folder = scan.folders[path]
        if any(file.ctime >= since for file in folder.entries):
            entries = [
                file._replace(ctime=_CHANGED) if file.ctime >= since else file
                for file in folder.entries
            ]
            scan.folders[path] = folder._replace(entries=tuple(entries))


def remember(snapshot: Snapshot, memory: Path) -> None:
    """Write the cache for the next capture of this directory, after the writer is finished."""
    if snapshot.as_remembered:
        return
    # marshal does not support named tuples
    plain = {
        path: (
            *folder[:1],
            tuple(map(tuple, folder.entries)),
            *folder[2:7],
            tuple(folder.recorded),
            tuple(folder.stable),
        )
        for path, folder in snapshot.folders.items()
    }
    with contextlib.suppress(OSError):  # the capture is complete without its cache
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_cache(memory, (CACHE_FORMAT, tuple(snapshot.pair), plain))


def _recall(memory: Path | None, store: Store) -> dict[bytes, Folder]:
    if memory is None:
        return {}
    cached = read_cache(memory)
    if cached is None:
        return {}
    form, pair, folders = cached
    # write the objects again if gc has deleted them
    if form != CACHE_FORMAT or not all(oid is None or store.objects.exists(oid) for oid in pair):
        return {}
    return {
        path: Folder._make((*parts[:-2], Pair(*parts[-2]), Pair(*parts[-1])))
        for path, parts in folders.items()
    }


def _named(folder: Folder) -> Folder:
    """Return a folder, possibly from the cache, with its entries as named tuples."""
    return folder._replace(entries=tuple(ScannedFile(*entry) for entry in folder.entries))


def _has_content(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _unknown_files(scan: Scan, before: dict[bytes, Folder]) -> list[tuple[bytes, int, ScannedFile]]:
    """Fill in the ids from the cache; return the (folder, position, entry) of files to read."""
    unread = []
    for path, folder in scan.folders.items():
        if path in scan.unchanged:
            continue
        old = before.get(path)
        known_oids = dict(zip(old.entries, old.oids, strict=True)) if old else {}
        oids: list[Oid | None] = []
        for number, file in enumerate(folder.entries):
            oid = known_oids.get(file)
            oids.append(oid)
            if oid is None and _has_content(file.mode):
                unread.append((path, number, file))
        scan.folders[path] = folder._replace(oids=tuple(oids))
    return unread


Read = tuple[Oid, ScannedFile]


def _read_files(
    store: Store,
    root: bytes,
    unread: list[tuple[bytes, int, ScannedFile]],
    writer: ObjectWriter,
    *,
    live: bool,
) -> list[Read | None]:
    prefixes = {
        path: root + b"/" + path + b"/" if path else root + b"/"
        for path in {path for path, _, _ in unread}
    }
    work = [(prefixes[path] + file.name, file) for path, _, file in unread]
    total = sum(file.size for _, file in work)

    def read(part: list[tuple[bytes, ScannedFile]]) -> list[Read | None]:
        return [
            _read_file(path, file, writer, live=live)
            for path, file in counted(part, "reading files")
        ]

    if (
        len(work) < 2
        or (total < PARALLEL_BYTES and len(work) < PARALLEL_FILES)
        or len(os.sched_getaffinity(0)) < 2
    ):
        return read(work)

    def read_with_own_pack(part: list[tuple[bytes, ScannedFile]]) -> list[Read | None]:
        with store.objects.writer() as own:
            return [_read_file(path, file, own, live=live) for path, file in part]

    return in_two_processes(
        work, lambda item: item[1].size + FILE_WEIGHT, in_parent=read, in_child=read_with_own_pack
    )


def _seen_now(name: bytes, state: os.stat_result) -> ScannedFile:
    return ScannedFile(
        name, state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    )


def _read_file(path: bytes, file: ScannedFile, writer: ObjectWriter, *, live: bool) -> Read | None:
    """Store a file's content; return its id and the stat at that time.

    Returns None if the directory is live and the file vanished or keeps changing.
    """
    try:
        return _read_reached(path, file, writer, live=live)
    except FileNotFoundError:  # its folder vanished
        if live:
            return None
        raise


def _read_reached(
    path: bytes, file: ScannedFile, writer: ObjectWriter, *, live: bool
) -> Read | None:
    with within_reach(path) as near:
        try:
            return _read_near(near, file, writer)
        except CaptureError:  # it keeps changing
            if live:
                return None
            raise
        except FileNotFoundError as error:
            if live:
                return None
            raise CaptureError(
                f"{os.fsdecode(path)} was deleted while it was captured",
                hint="stop the process that writes there",
            ) from error
        except OSError as error:
            if error.filename not in (None, near):  # a failed write to the pack
                raise
            if live and error.errno in REPLACED:
                return None
            raise UnreadableError(
                f"cannot read {os.fsdecode(path)}: {error.strerror}",
                path,
                hint="give its owner read permission, or exclude it",
            ) from error


def _read_near(path: bytes, file: ScannedFile, writer: ObjectWriter) -> Read:
    if stat.S_ISLNK(file.mode):
        return writer.add("blob", os.readlink(path)), file
    try:
        return _read_regular(path, file, writer)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        set_mode(path, stat.S_IRUSR, add=True)
    try:
        oid, now = _read_regular(path, file._replace(ctime=_CHANGED), writer)
    finally:
        set_mode(path, mode)
    # restoring the mode changed the ctime
    return oid, now._replace(mode=file.mode, ctime=os.lstat(path).st_ctime_ns)


def _read_regular(path: bytes, file: ScannedFile, writer: ObjectWriter) -> Read:
    if file.size < STREAM_FROM:
        quick = _read_quickly(path, file, writer)
        if quick is not None:
            return quick, file
    for _ in range(READ_AGAIN):
        oid, now = _read_once(path, file, writer)
        if oid is not None:
            return oid, now
        file = now
    raise CaptureError(
        f"{os.fsdecode(path)} keeps changing while it is read",
        hint="stop the process that writes to it, or exclude it",
    )


def _read_quickly(path: bytes, file: ScannedFile, writer: ObjectWriter) -> Oid | None:
    """Read a file in the fewest system calls; return None if it has changed since the scan."""
    fd = os.open(path, _OPEN)
    try:
        data = os.read(fd, file.size + 1)
        state = os.fstat(fd)
    finally:
        os.close(fd)
    # this stat is newer than the content and equals the scan's: no write came in between
    same = (
        state.st_ctime_ns == file.ctime
        and state.st_mtime_ns == file.mtime
        and state.st_ino == file.inode
    )
    return writer.add_blob(data) if same and len(data) == file.size else None


def _read_once(
    path: bytes, file: ScannedFile, writer: ObjectWriter
) -> tuple[Oid | None, ScannedFile]:
    fd = os.open(path, _OPEN)
    try:
        start = _seen_now(file.name, os.fstat(fd))
        if start.size >= STREAM_FROM:
            oid = _stream(fd, start.size, writer)
        else:
            data = os.read(fd, start.size + 1)
            while len(data) < start.size and (more := os.read(fd, start.size + 1 - len(data))):
                data += more
            oid = writer.add_blob(data) if len(data) == start.size else None
        end = _seen_now(file.name, os.fstat(fd))
        # if the file has changed meanwhile, the added blob stays unreferenced
        return (oid, end) if end == start else (None, end)
    finally:
        os.close(fd)


def _stream(fd: int, size: int, writer: ObjectWriter) -> Oid | None:
    digest, remaining = hashlib.sha1(b"blob %d\0" % size), size
    while chunk := os.read(fd, STREAM_CHUNK):
        digest.update(chunk)
        remaining -= len(chunk)
    if remaining:
        return None
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(os.dup(fd), "rb") as source:
        return digest.digest() if writer.add_blob_stream(digest.digest(), size, source) else None


def _link_groups(folders: dict[bytes, Folder]) -> dict[bytes, bytes]:
    """Return the first path of its group for each file with several links in these folders."""
    if not any(folder.links for folder in folders.values()):
        return {}
    members: dict[tuple[int, int], list[bytes]] = {}
    for path, folder in folders.items():
        for device, inode, name in folder.links:
            members.setdefault((device, inode), []).append(path + b"/" + name if path else name)
    groups = [sorted(paths) for paths in members.values() if len(paths) > 1]
    return {path: group[0] for group in groups for path in group}


class _Trees:
    """Writes the trees of folders whose files' ids are known."""

    def __init__(
        self, writer: ObjectWriter, folders: dict[bytes, Folder], groups: dict[bytes, bytes]
    ) -> None:
        self._writer = writer
        self._folders = folders
        self._groups = groups

    def record(self, before: dict[bytes, Folder], unchanged: set[bytes]) -> Pair:
        """Write the trees of all changed folders, from the leaves up; return the top's pair."""
        changed: set[bytes] = set()
        was = _link_groups(before)
        for path in reversed(self._folders):  # a scan lists parents first
            folder = self._folders[path]
            below = [_join(path, name) for name in folder.folders]
            if (
                path in unchanged
                and not changed.intersection(below)
                and not self._regrouped(path, folder, was)
            ):
                continue
            changed.add(path)
            recorded = {name: self._folders[at].recorded for name, at in _zip(folder, below)}
            stable = {name: self._folders[at].stable for name, at in _zip(folder, below)}
            tree = self._content(folder, recorded)
            self._folders[path] = folder._replace(
                recorded=Pair(
                    tree, self._attributes(path, folder, recorded, mtimes=True, links=True)
                ),
                stable=Pair(
                    tree, self._attributes(path, folder, stable, mtimes=False, links=False)
                ),
            )
        return self._folders[b""].recorded

    def _regrouped(self, path: bytes, folder: Folder, was: dict[bytes, bytes]) -> bool:
        """Return whether a hardlink group has changed in a folder with otherwise equal stats.

        Renaming another folder can change the group's first path.
        """
        members = [_join(path, name) for _, _, name in folder.links]
        return any(self._groups.get(member) != was.get(member) for member in members)

    def stable_with_links(self, path: bytes) -> Pair:
        """Return the pair of the folder at a path without mtimes but with hardlink groups."""
        folder = self._folders[path]
        below = {name: self.stable_with_links(_join(path, name)) for name in folder.folders}
        return Pair(
            self._content(folder, below),
            self._attributes(path, folder, below, mtimes=False, links=True),
        )

    def _content(self, folder: Folder, below: dict[bytes, Pair]) -> Oid:
        """Write the content tree of a folder, which is the same with and without mtimes."""
        content = [
            Entry(escape_name(name), git_mode(mode), oid)
            for (name, mode, *_), oid in zip(folder.entries, folder.oids, strict=True)
            if oid is not None
        ]
        for name, pair in below.items():
            add_directory(content, [], escape_name(name), pair)
        return self._writer.add_tree(content) if content else EMPTY_TREE

    def _attributes(
        self, path: bytes, folder: Folder, below: dict[bytes, Pair], *, mtimes: bool, links: bool
    ) -> Oid | None:
        """Write the attributes tree of a folder; return None if all have their defaults."""
        attributes: list[Entry] = []
        for name, pair in below.items():
            add_directory([], attributes, escape_name(name), pair)
        text = self._lines(path, folder, mtimes=mtimes, links=links)
        if text:
            attributes.append(Entry(BLOB_NAME, MODE_FILE, self._writer.add("blob", text)))
        return self._writer.add_tree(attributes) if attributes else None

    def _lines(self, path: bytes, folder: Folder, *, mtimes: bool, links: bool) -> bytes:
        groups = self._groups if links and folder.links else {}
        own = _own_line(folder, mtimes=mtimes)
        if not groups and _is_plain(folder):
            if not mtimes:
                return own
            if not _TO_ESCAPE.search(b"\0".join([entry[0] for entry in folder.entries])):
                return own + _mtime_lines(folder)
        lines = [own]
        for entry in _named(folder).entries:
            device = stat.S_ISCHR(entry.mode) or stat.S_ISBLK(entry.mode)
            node = FileNode(
                entry.mode,
                mtime=entry.mtime,
                link=groups.get(_join(path, entry.name), b""),
                xattrs=folder.xattrs.get(entry.name, ()),
                rdev=(os.major(entry.size), os.minor(entry.size)) if device else None,
                owner=folder.owners.get(entry.name, ROOT),
            )
            lines.append(attribute_line(entry.name, node, mtimes=mtimes))
        return b"".join(lines)


def _own_line(folder: Folder, *, mtimes: bool) -> bytes:
    """Return the line for a directory itself."""
    mode, mtime = folder.own
    owner = folder.owners.get(b".", ROOT)
    node = FileNode(mode, mtime=None if mtime == NO_MTIME else mtime, owner=owner)
    return attribute_line(b".", node, mtimes=mtimes)


def _is_plain(folder: Folder) -> bool:
    """Return whether all entries have default attributes apart from their mtimes."""
    if folder.xattrs or folder.owners:
        return False
    return _ORDINARY.issuperset([entry[1] for entry in folder.entries])


def _mtime_lines(folder: Folder) -> bytes:
    """Return the lines of entries that have only an mtime and need no escaping."""
    dates = [(name, mtime // _NANO, mtime % _NANO) for name, _, _, _, mtime, _ in folder.entries]
    return b"".join([b"%s\tmtime=%d.%09d\n" % date for date in dates])


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _zip(folder: Folder, below: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(folder.folders, below, strict=True)
