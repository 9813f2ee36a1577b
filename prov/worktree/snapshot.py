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
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import CaptureError
from prov.files import TICK_NS, read_cache, write_cache
from prov.processes import without_collecting
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.exclude import Exclude
from prov.worktree.folders import Folder, named_folders, plain_folders
from prov.worktree.recording import Recorder
from prov.worktree.scan import Faked, Scanner
from prov.worktree.trees import TreeBuilder, link_groups

CACHE_FORMAT = 3


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
        groups = link_groups(inside)
        if not groups:
            return folder.stable
        return TreeBuilder(writer, inside, groups).stable_with_links(path)


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
    recorder = Recorder(store, root, scan, writer, clock - TICK_NS, live)
    try:
        pair = recorder.record(before)
    finally:
        scanner.close(scan)
    same = bool(before) and len(scan.unchanged) == len(scan.folders) == len(before)
    return Snapshot(pair, scan.folders, recorder.read, same)


def remember(snapshot: Snapshot, memory: Path) -> None:
    """Write the cache for the next capture of this directory, after the writer is finished."""
    if snapshot.as_remembered:
        return
    with contextlib.suppress(OSError):  # the capture is complete without its cache
        memory.parent.mkdir(parents=True, exist_ok=True)
        value = (CACHE_FORMAT, tuple(snapshot.pair), plain_folders(snapshot.folders))
        write_cache(memory, value)


def _recall(memory: Path | None, store: Store) -> dict[bytes, Folder]:
    if memory is None:
        return {}
    cached = read_cache(memory)
    if cached is None or cached[0] != CACHE_FORMAT:
        return {}
    _, pair, folders = cached
    # write the objects again if gc has deleted them
    if not all(oid is None or store.objects.exists(oid) for oid in pair):
        return {}
    return named_folders(folders)
