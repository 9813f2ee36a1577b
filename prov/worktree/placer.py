"""Place a regular file: write content from the store to a name on disk.

A `Placer` decides whether the file is private, as in a WORKDIR, or a hardlink into the pool, as in
a sysroot. Both replace path tokens with the paths of their directory. Runs of zeros become holes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from prov.store.objects import Oid
from prov.worktree.attributes import ROOT, FileNode, TreeReader
from prov.worktree.path_tokens import BINARY, TokenPaths, fits, relocate

EPOCH_NS = 315_532_800_000_000_000
"""1980-01-01, the mtime of files without a recorded one: constant, and the earliest in zip."""
HOLE = 1 << 16
"""The size and alignment of a hole, in bytes: no file system has larger blocks."""
NO_ROOM = "has no space for the new paths, and contains /nonexistent instead"
_ZEROS = bytes(HOLE)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_geteuid = os.geteuid


class ObjectReader(TreeReader, Protocol):
    """The part of a store that checkouts read."""

    def stream_blob(self, oid: Oid) -> Iterator[bytes]: ...


class Placer(Protocol):
    """Places a regular file with its mode and mtime at a free path.

    `folder` is the descriptor of the folder that contains the path's last component.
    """

    shares: bool
    """True if files of equal content and mode share an inode, so hardlink groups are implied."""
    notes: list[tuple[bytes, str]]
    """Warnings about placed files, each with the file's path."""

    def place(self, node: FileNode, path: bytes, folder: int) -> None: ...


def set_owner(node: FileNode, path: bytes | int, folder: int | None = None) -> None:
    """Set a file's owner if it is not root and the caller is root or under fakeroot."""
    if node.owner != ROOT and _geteuid() == 0:
        if folder is None:
            os.chown(path, *node.owner)
        else:
            os.chown(path, *node.owner, dir_fd=folder, follow_symlinks=False)


def sealed_mtime(oid: Oid, size: int, own: int | None = None) -> int:
    """Return the mtime, in nanoseconds, of a file of `size` bytes with this blob's content.

    This is `own`, the recorded mtime, if it is set. Otherwise the seconds (within three years from
    1980) encode the size, so the seal also detects a tool that changes a file and restores its
    mtime, such as `strip -p`.
    """
    if own is not None:
        return own
    return EPOCH_NS + size % 100_000_000 * 1_000_000_000 + int.from_bytes(oid[:4]) % 1_000_000_000


def is_sealed(state: os.stat_result, node: FileNode, owner: int | None = None) -> bool:
    """Return whether a file's seal is intact, by its mode, owner, size and mtime.

    `owner` is the effective user id, for callers that look it up once for many files.
    """
    # sealed_mtime inlined for speed: this runs for every file of a sysroot
    mtime = node.mtime
    if mtime is None:
        mtime = (
            EPOCH_NS
            + state.st_size % 100_000_000 * 1_000_000_000
            + int.from_bytes(node.oid[:4]) % 1_000_000_000
        )
    if owner is None:
        owner = _geteuid()
    return state.st_mtime_ns == mtime and state.st_mode == node.mode and state.st_uid == owner


def content(
    objects: ObjectReader, node: FileNode, token_paths: TokenPaths | None
) -> Iterable[bytes]:
    """Return a file's content in chunks, with its tokens replaced by `token_paths`."""
    if token_paths is None or not node.fixme:
        return objects.stream_blob(node.oid)
    return [relocate(objects.blob(node.oid), node.fixme, token_paths)]


def has_room(objects: ObjectReader, node: FileNode, token_paths: TokenPaths) -> bool:
    """Return whether `token_paths` fit into a file."""
    return not node.fixme.startswith(BINARY) or fits(
        objects.blob(node.oid), node.fixme, token_paths
    )


def write_chunks(fd: int, chunks: Iterable[bytes]) -> int:
    """Write a new file's content to a descriptor, zeros as holes; return its size in bytes."""
    size, hole = 0, False
    for chunk in chunks:
        view = memoryview(chunk)
        for at in range(0, len(view), HOLE):
            piece = view[at : at + HOLE]
            size += len(piece)
            hole = len(piece) == HOLE and piece == _ZEROS
            if hole:
                os.lseek(fd, HOLE, os.SEEK_CUR)
                continue
            while piece:
                piece = piece[os.write(fd, piece) :]
    if hole:
        os.ftruncate(fd, size)
    return size


@dataclass(slots=True)
class PrivatePlacer:
    """Places private files, which a task can write to."""

    objects: ObjectReader
    token_paths: TokenPaths | None = None
    sealed: bool = False
    """Set mtimes derived from the content, as the pool does, to detect changes."""
    shares: bool = False
    notes: list[tuple[bytes, str]] = field(default_factory=list)

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        name = path[path.rfind(b"/") + 1 :]
        mode = stat.S_IMODE(node.mode)
        if (
            node.fixme
            and self.token_paths is not None
            and not has_room(self.objects, node, self.token_paths)
        ):
            self.notes.append((path, NO_ROOM))
        fd = os.open(name, _NEW, mode & 0o777 | 0o600, dir_fd=folder)
        try:
            size = write_chunks(fd, content(self.objects, node, self.token_paths))
            set_owner(node, fd)
            for key, value in node.xattrs:
                os.setxattr(fd, key, value)
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
                os.fchmod(fd, mode)
            mtime = EPOCH_NS if node.mtime is None else node.mtime
            if self.sealed:
                mtime = sealed_mtime(node.oid, size, node.mtime)
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)
