"""Verify that a composed directory is unchanged, by one lstat per entry, without reading content.

Placed files are sealed: mode, owner, size and mtime show whether a file was written to, through any
of its hardlinks.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from prov.worktree.attributes import FILE_TYPE, FileNode, Pair, TreeReader, read_listing
from prov.worktree.parallel import by_turns
from prov.worktree.placer import EPOCH_NS, is_sealed

SHARE_FROM = 128
"""The number of pending folders from which a second process shares the work."""

What = Literal["changed", "deleted", "added"]


class Mismatch(NamedTuple):
    """A path that has changed since it was placed."""

    path: bytes
    what: What
    placed: FileNode | None
    """The placed entry; None for an added one."""
    detail: str = ""
    changed_at: float = 0.0
    """Time of the inode's last change, in seconds since the epoch."""

    def __str__(self) -> str:
        return f"{os.fsdecode(self.path)} ({self.detail or self.what})"


class _Folder(NamedTuple):
    """A folder to compare."""

    path: bytes
    pair: Pair
    placed: FileNode | None = None
    """Its entry in the folder above; None for the top folder, whose mode is not compared."""
    mode: int = 0
    """Its st_mode on disk."""
    changed_at: float = 0.0


def differences(reader: TreeReader, directory: Path, placed: Pair) -> list[Mismatch]:
    """Return the differences between a directory and its composed tree, sorted by path.

    An unreadable folder ends the comparison and is one of the differences. Two processes share the
    work if there are many folders.
    """
    comparison = _Verification(reader, os.fsencode(directory))
    return sorted(comparison.run(placed), key=lambda mismatch: mismatch.path)


FolderState = tuple[int, int, int]
"""A folder's mode, inode, and ctime in nanoseconds, which no process can set back."""


def folder_states(directory: Path, folders: Iterable[bytes]) -> dict[bytes, FolderState]:
    """Return the state of each folder; `b""` is the directory itself. Raises OSError."""
    states: dict[bytes, FolderState] = {}
    # relative to an open folder, since the kernel resolves each name of a path
    top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for path in folders:
            state = os.stat(path or b".", dir_fd=top, follow_symlinks=False)
            states[path] = (state.st_mode, state.st_ino, state.st_ctime_ns)
    finally:
        os.close(top)
    return states


def seal_of(states: Mapping[bytes, FolderState]) -> bytes:
    """Return a digest of the states of folders."""
    digest = hashlib.sha1()
    for path in sorted(states):
        digest.update(b"%d %d %d\n" % states[path])
    return digest.digest()


@dataclass(slots=True)
class _Verification:
    reader: TreeReader
    root: bytes
    pending: deque[_Folder] = field(default_factory=deque)
    mismatches: list[Mismatch] = field(default_factory=list)

    def run(self, placed: Pair) -> list[Mismatch]:
        self.pending.append(_Folder(b"", placed))
        self.work_off(most=SHARE_FROM)
        shared = [*self.pending]
        if not shared:
            return self.mismatches
        if len(os.sched_getaffinity(0)) < 2:
            self.work_off()
            return self.mismatches
        own, others = by_turns(shared, self.share, "verifying files")
        return [*self.mismatches, *own, *others]

    def share(self, folders: Iterator[_Folder]) -> list[Mismatch]:
        """Compare one process's share of the folders."""
        part = _Verification(self.reader, self.root)
        for folder in folders:
            part.pending.append(folder)
            part.work_off()
        return part.mismatches

    def work_off(self, most: int = sys.maxsize) -> None:
        """Compare the pending folders and those below them, until `most` are pending."""
        while 0 < len(self.pending) < most:
            folder = self.pending.popleft()
            try:
                self.compare(folder)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and folder.placed is not None:
                    # deleted since it was listed
                    self.mismatches.append(Mismatch(folder.path, "deleted", folder.placed))
                    continue
                self.pending.clear()
                path = os.path.relpath(os.fsencode(error.filename or self.root), self.root)
                detail = f"cannot be read: {error.strerror}"
                self.mismatches.append(Mismatch(path, "changed", None, detail, time.time()))

    def compare(self, folder: _Folder) -> None:
        """Add the differences in a folder; its subfolders are then pending."""
        listing = read_listing(self.reader, folder.pair)
        prefix = folder.path + b"/" if folder.path else b""
        self.compare_mode(folder, listing.pop(b".").mode)
        owner = os.geteuid()
        with os.scandir(self.root + b"/" + folder.path if folder.path else self.root) as entries:
            for entry in entries:
                name = entry.name
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # deleted since it was listed
                    continue
                node = listing.pop(name, None)
                # fast path: most entries of a sysroot are unchanged files
                if (
                    node is None
                    or node.mode & FILE_TYPE != stat.S_IFREG
                    or not is_sealed(state, node, owner)
                ):
                    self.compare_entry(prefix + name, node, state)
        self.mismatches += [
            Mismatch(prefix + name, "deleted", node) for name, node in listing.items()
        ]

    def compare_mode(self, folder: _Folder, placed: int) -> None:
        placed, mode = stat.S_IMODE(placed), stat.S_IMODE(folder.mode)
        if folder.placed is not None and placed != mode:
            detail = f"its mode was {placed:o}, is {mode:o}"
            self.mismatches.append(
                Mismatch(folder.path, "changed", folder.placed, detail, folder.changed_at)
            )

    def compare_entry(self, path: bytes, node: FileNode | None, state: os.stat_result) -> None:
        if node is None:
            self.mismatches.append(Mismatch(path, "added", None, "was added", state.st_ctime))
            return
        detail = _difference(state, node)
        if detail:
            self.mismatches.append(Mismatch(path, "changed", node, detail, state.st_ctime))
        elif node.is_directory:
            self.pending.append(_Folder(path, node.pair, node, state.st_mode, state.st_ctime))


def _difference(state: os.stat_result, node: FileNode) -> str:
    """Return a description of how an entry changed, or nothing if it is unchanged."""
    if stat.S_IFMT(state.st_mode) != stat.S_IFMT(node.mode):
        return "has a different type"
    if stat.S_ISLNK(node.mode):
        placed = EPOCH_NS if node.mtime is None else node.mtime
        # a symlink cannot be written to, only replaced
        return "" if state.st_mtime_ns == placed else "was replaced"
    if stat.S_ISREG(node.mode):
        if is_sealed(state, node):
            return ""
        if state.st_uid != os.geteuid():
            return f"its owner is {state.st_uid}"
        if state.st_mode != node.mode:
            return f"its mode was {stat.S_IMODE(node.mode):o}, is {stat.S_IMODE(state.st_mode):o}"
        return f"was written to, has {state.st_size} bytes now"
    return ""
