"""Read the changed files of a scanned directory and write its trees, in two processes if it pays.

Each process reads the files of one part of the folders, in the order of their paths, and then
writes the trees of those below which everything is written. What remains is written by this
process: folders above those of the other process, and folders with hardlinks, whose groups are
known only at the end.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.progress import counted
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.folders import (
    FILE_WEIGHT,
    NO_OID,
    Folder,
    FolderState,
    ScannedFile,
    named_folders,
    plain_folders,
    split_oids,
)
from prov.worktree.parallel import from_both_ends
from prov.worktree.reading import CHANGED, Read, read_files
from prov.worktree.scan import Scan, has_content
from prov.worktree.trees import TreeBuilder, join, link_groups

PARALLEL_BYTES = 48 << 20
"""The weight from which two processes share the work."""
FOLDER_WEIGHT = 30_000
"""The cost of writing a folder's trees, in bytes to pack."""
PIECES = 128
"""A folder of more than this part of the weight is shared between the processes."""


class _Piece(NamedTuple):
    """Some entries of a folder to read: those from `start` to `stop`, all if `whole`."""

    path: bytes
    start: int
    stop: int
    weight: int
    whole: bool


@dataclass(slots=True)
class Recorder:
    """Records the changed folders of a scan.

    Files modified since `young`, in nanoseconds, are read again by the next capture: another write
    so soon after could leave the same stat.
    """

    store: Store
    root: bytes
    scan: Scan
    writer: ObjectWriter
    young: int
    live: bool
    read: int = 0
    """The number of files read."""
    _pending: set[bytes] = field(default_factory=set)
    """The folders whose trees are not written yet."""
    _parts: dict[bytes, list[tuple[int, Read | None]]] = field(default_factory=dict)
    """The files read of folders that both processes read, by their position."""

    def record(self, was: dict[bytes, Folder]) -> Pair:
        """Record the directory and return its pair; `was` are the folders of the last capture."""
        self._pending = _with_parents(self.scan.unread)
        pieces = list(self._pieces())
        total = sum(piece.weight for piece in pieces)
        if total < PARALLEL_BYTES or len(os.sched_getaffinity(0)) < 2:
            self._work(counted(pieces, "reading files"), self.writer)
        else:
            self._share(pieces)
        for path, reads in self._parts.items():
            self.scan.folders[path] = self._settled(path, reads)
        self._write_rest(link_groups(was))
        return self.scan.folders[b""].recorded

    def _pieces(self) -> Iterator[_Piece]:
        """Yield the folders to record, leaves first; a large one in several pieces."""
        unread = self.scan.unread
        largest = max(sum(unread.values()) // PIECES, PARALLEL_BYTES // PIECES)
        for path in sorted(self._pending, reverse=True):
            weight = unread.get(path, 0)
            count = len(self.scan.folders[path].joined_oids) // 20
            if weight <= largest or count < 2:
                yield _Piece(path, 0, count, weight + FOLDER_WEIGHT, whole=True)
                continue
            start = at = piece = 0
            for at, row in enumerate(self.scan.folders[path].decode().stats, 1):
                piece += row[2] + FILE_WEIGHT
                if piece > largest or at == count:
                    yield _Piece(path, start, at, piece, whole=False)
                    start, piece = at, 0

    def _share(self, pieces: Sequence[_Piece]) -> None:
        """Do all the work with a second process, which writes a pack of its own."""

        def in_child(part: Iterator[_Piece]) -> bytes:
            with self.store.objects.writer() as own:
                paths, written = self._work(part, own)
            folders = plain_folders({path: self.scan.folders[path] for path in paths})
            parts = {
                path: [(at, read and (read[0], tuple(read[1]))) for at, read in reads]
                for path, reads in self._parts.items()
            }
            # marshal is much faster than pickle
            return marshal.dumps((folders, written, parts, self.read))

        _, answer = from_both_ends(
            pieces,
            "reading files",
            in_parent=lambda part: self._work(part, self.writer),
            in_child=in_child,
        )
        folders, written, parts, read = marshal.loads(answer)  # from prov's own fork
        self.scan.folders.update(named_folders(folders))
        self._pending.difference_update(written)
        for path, reads in parts.items():
            self._parts.setdefault(path, []).extend(
                (at, read and (read[0], ScannedFile._make(read[1]))) for at, read in reads
            )
        self.read += read

    def _work(
        self, pieces: Iterable[_Piece], writer: ObjectWriter
    ) -> tuple[list[bytes], list[bytes]]:
        """Read some folders, then write the trees of those below which all are written.

        Returns the paths of the read folders, and of those whose trees are written.
        """
        paths, written = [], []
        for piece in pieces:
            reads = self._read(piece, writer)
            if piece.whole:
                self.scan.folders[piece.path] = self._settled(piece.path, reads)
                paths.append(piece.path)
            else:
                self._parts.setdefault(piece.path, []).extend(reads)
        builder = TreeBuilder(writer, self.scan.folders, {})
        for path in sorted(paths, reverse=True):  # leaves first
            folder = self.scan.folders[path]
            state = folder.decode()
            inside = [join(path, name) for name in state.folders]
            if not folder.links and self._pending.isdisjoint(inside):
                self.scan.folders[path] = builder.record(path, state, folder)
                self._pending.discard(path)
                written.append(path)
        return paths, written

    def _read(self, piece: _Piece, writer: ObjectWriter) -> list[tuple[int, Read | None]]:
        """Read the files of a folder that are not known; return them with their positions."""
        folder = self.scan.folders[piece.path]
        if NO_OID not in folder.joined_oids:
            return []
        state, oids = folder.decode(), folder.oids
        places = [
            at
            for at in range(piece.start, piece.stop)
            if oids[at] == NO_OID and has_content(state.stats[at][0])
        ]
        files = [ScannedFile(state.names[at], *state.stats[at]) for at in places]
        prefix = self.root + b"/" + piece.path + b"/" if piece.path else self.root + b"/"
        self.read += len(files)
        reads = read_files(prefix, files, writer, live=self.live)
        return list(zip(places, reads, strict=True))

    def _settled(self, path: bytes, reads: list[tuple[int, Read | None]]) -> Folder:
        """Return a folder after its files have been read."""
        folder = self.scan.folders[path]
        if path not in self.scan.unread:  # only a folder below it has changed
            return folder
        state = folder.decode()
        stats, oids, vanished = list(state.stats), folder.oids, set[int]()
        for at, read in reads:
            if read is None:
                vanished.add(at)
            else:
                oids[at], stats[at] = read[0], read[1][1:]
        for at, row in enumerate(stats):
            if row[4] >= self.young:
                stats[at] = (*row[:4], CHANGED)
        if stats != state.stats:
            state = state._replace(stats=stats)
            folder = folder._replace(state=state.encode())
        folder = folder._replace(joined_oids=b"".join(oids))
        return _without(state, folder, vanished) if vanished else folder

    def _write_rest(self, old_groups: dict[bytes, bytes]) -> None:
        """Write the trees that `_work` left, and those whose hardlink groups have changed.

        Renaming a folder can change the first path of a group, and so a folder that is otherwise
        unchanged.
        """
        folders = self.scan.folders
        groups = link_groups(folders)
        regrouped = {
            path
            for path, folder in folders.items()
            if folder.links
            and any(
                groups.get(join(path, name)) != old_groups.get(join(path, name))
                for _, _, name in folder.links
            )
        }
        builder = TreeBuilder(self.writer, folders, groups)
        for path in sorted(self._pending | _with_parents(regrouped), reverse=True):
            folders[path] = builder.record(path, folders[path].decode(), folders[path])


def _with_parents(paths: Iterable[bytes]) -> set[bytes]:
    """Return paths and those of all folders above them."""
    closed: set[bytes] = set()
    for path in paths:
        at = path
        while at not in closed:
            closed.add(at)
            at = at.rpartition(b"/")[0]
    return closed


def _without(state: FolderState, folder: Folder, vanished: set[int]) -> Folder:
    """Return a folder without the files that vanished during the capture."""
    names = {state.names[at] for at in vanished}
    oids = split_oids(folder.joined_oids)
    remaining = [at for at in range(len(state.names)) if at not in vanished]
    state = state._replace(
        names=[state.names[at] for at in remaining],
        stats=[state.stats[at] for at in remaining],
        links=[link for link in state.links if link[2] not in names],
        owners=[owner for owner in state.owners if owner[0] not in names],
    )
    return folder._replace(
        state=state.encode(),
        joined_oids=b"".join([oids[at] for at in remaining]),
        links=state.links,
        xattrs={name: values for name, values in folder.xattrs.items() if name not in names},
    )
