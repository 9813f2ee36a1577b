"""The pool: uncompressed files to hardlink from, keyed by blob, mode, and the mtime if recorded.

Git objects are compressed, so files cannot be hardlinked from the store itself. Hardlinks share
inode, mode and mtime, and root can write through a read-only one. So a pool file is *sealed* by an
mtime derived from its blob and size: one lstat (size, mode, owner, mtime) shows whether it was
written to. prov verifies every link when it creates it. A changed file is written again from git as
a new inode, and the new link to the changed one is removed. The *generation* is a number that is
incremented for each changed file; a directory linked in an earlier generation must be verified.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from pathlib import Path

from prov.files import close_to_others, locked, make_private, replace_file
from prov.store.objects import object_id
from prov.worktree.attributes import ROOT, FileNode
from prov.worktree.folders import ScannedFile
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.placer import (
    NO_ROOM,
    ObjectReader,
    PrivatePlacer,
    content,
    has_room,
    is_sealed,
    sealed_mtime,
    write_chunks,
)

LINK_REFUSED = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EACCES, errno.EROFS, errno.ENOSYS)
"""Errors of link(2) for another file system, one without hardlinks, a read-only one, or a file of
another user.
"""
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
EMPTY_BLOB = object_id("blob", b"")
FICLONE = 0x40049409
"""The ioctl that shares another file's blocks, if the file system supports it (linux/fs.h)."""
ATTEMPTS = 4
GUARDED, OPEN, STAGED = "pool", "pool-open", "pool-staged"
"""The pools' folders in a store's cache.

Sandboxes see the files of the first pool, read-only. All other tasks use the second. The third
shares its files with a build directory, where BitBake staged them. So a task without a sandbox
cannot change files of a sandboxed task by writing through a hardlink.
"""
POOLS = (GUARDED, OPEN, STAGED)


class LinkFailure(Enum):
    """The reasons for which a link fails, by their remedies."""

    MISSING = auto()
    """The pool does not contain the file yet."""
    NOT_OPEN = auto()
    """The pool's folder is not open, or does not exist yet."""
    FULL = auto()
    """The inode has the maximum number of links: 65,000 on ext4."""
    REFUSED = auto()
    """The file system cannot link here."""
    OTHER = auto()


_FAILURES = {
    errno.ENOENT: LinkFailure.MISSING,
    errno.EBADF: LinkFailure.NOT_OPEN,
    errno.EMLINK: LinkFailure.FULL,
    **dict.fromkeys(LINK_REFUSED, LinkFailure.REFUSED),
}


_NO_FOLDER = (LinkFailure.MISSING, LinkFailure.NOT_OPEN)


def link_failure(number: int) -> LinkFailure:
    """Return the reason for an error number of link(2)."""
    return _FAILURES.get(number, LinkFailure.OTHER)


@dataclass(slots=True)
class Pool:
    """A placer that hardlinks files from the pool.

    It places a copy of an empty file, or if the file system refuses links.
    """

    folder: Path
    objects: ObjectReader
    token_paths: TokenPaths | None = None
    """The paths that replace tokens; None keeps the tokens."""
    private: frozenset[bytes] = frozenset()
    """Paths to place as a copy."""
    shares: bool = True
    by_path: bytes | None = None
    """If set, equal files at different paths, or under different values, do not share inodes."""
    notes: list[tuple[bytes, str]] = field(default_factory=list)
    _fd: int = -1
    _owner: int = field(default_factory=os.geteuid)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def name(self, node: FileNode, path: bytes = b"") -> str:
        """Return the name in the pool's folder of the file for a node at a path."""
        paths = f"-{self.token_paths.digest(node.fixme)}" if node.fixme and self.token_paths else ""
        return _name(node) + paths + self._own(path)

    def _own(self, path: bytes) -> str:
        """Return the suffix that separates a path's file from equal ones, or an empty one."""
        if self.by_path is None:
            return ""
        return "+" + hashlib.sha1(self.by_path + b"\0" + path).hexdigest()[:12]

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        source = self._source(node, path)
        if source is None or not self._link(source, node, path, folder):
            self._private(node, path, folder)

    def _source(self, node: FileNode, path: bytes) -> str | None:
        """Return the name of the pool's file for a node, or None if the node must be copied."""
        # fast path: this runs for every file of a sysroot, and most have none of these
        if not (
            node.fixme
            or node.xattrs
            or node.oid == EMPTY_BLOB
            or node.owner != ROOT
            or self.private
        ):
            return _name(node) + self._own(path)
        if path in self.private or self._is_private(node):
            return None
        if node.fixme and self.token_paths and not has_room(self.objects, node, self.token_paths):
            self.notes.append((path, NO_ROOM))
        return self.name(node, path)

    def _link(self, source: str, node: FileNode, path: bytes, folder: int) -> bool:
        """Link to a file of the pool and verify the link; return whether that succeeded."""
        name = path[path.rfind(b"/") + 1 :]
        for _ in range(ATTEMPTS):
            try:
                os.link(source, name, src_dir_fd=self._fd, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if self._remedy(error, source, node):
                    continue
                return False
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if is_sealed(state, node, self._owner):
                return True
            os.unlink(name, dir_fd=folder)
            self.notes.append((path, "the pool's file was written to; it is restored from git"))
            if not self.repair(node, path):
                return False
        return False

    def _remedy(self, error: OSError, source: str, node: FileNode) -> bool:
        """Fix the cause of a failed link; return False if links are refused, or raise `error`."""
        reason = link_failure(error.errno or 0)
        if reason is LinkFailure.OTHER:
            raise error
        if reason is LinkFailure.REFUSED:
            return False
        if reason is LinkFailure.NOT_OPEN and self._open():
            return True
        # a new inode replaces one that has the maximum number of links
        return self._fill(source, node, replace=reason is LinkFailure.FULL)

    def _is_private(self, node: FileNode) -> bool:
        # no other directory can use a file that contains this one's paths
        relocated = node.fixme and self.token_paths is not None and not self.token_paths.constant
        return bool(relocated or node.xattrs or node.oid == EMPTY_BLOB or node.owner != ROOT)

    def _private(self, node: FileNode, path: bytes, folder: int) -> None:
        PrivatePlacer(self.objects, self.token_paths, sealed=True, notes=self.notes).place(
            node, path, folder
        )

    def _make_folder(self, name: str) -> None:
        """Create the pool's folder if it is missing, and a folder in it; open the first."""
        if not self.folder.is_dir():
            make_private(self.folder)
        # also if it is open: that one can have been deleted
        self._reopen()
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=self._fd)

    def _reopen(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        close_to_others(fd)

    def _open(self) -> bool:
        """Open the pool's folder for links; return False if it does not exist yet."""
        with contextlib.suppress(OSError):
            self._reopen()
        return self._fd >= 0

    # files of the pool

    def intact(self, node: FileNode) -> bool:
        """Return whether the pool's file for a node has an intact seal or does not exist."""
        try:
            return is_sealed((self.folder / self.name(node)).lstat(), node)
        except FileNotFoundError:
            return True

    def repair(self, node: FileNode, path: bytes = b"") -> bool:
        """Write a changed file again from git, as a new inode; return whether that succeeded."""
        self.advance()  # first: if killed in between, others only verify once too often
        return self._fill(self.name(node, path), node, replace=True)

    def adopt(self, path: Path, node: FileNode, captured: ScannedFile) -> None:
        """Copy a captured file into the pool, by reflink if possible.

        It cannot be a hardlink, since a task can write to the WORKDIR's inode. `captured` is the
        file's stat when `node` was captured.
        """
        name = self.name(node)
        if self._is_private(node) or (self.folder / name).exists():
            return
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._write(name, node, lambda fd: _clone(source, fd, captured))
        finally:
            os.close(source)

    def share(self, file: Path, node: FileNode, path: bytes) -> None:
        """Hardlink a file that no task writes to into the pool."""
        name = self.name(node, path)
        if self._is_private(node):
            return
        for _ in range(2):
            try:
                os.link(file, name, dst_dir_fd=self._fd, follow_symlinks=False)
                return
            except OSError as error:
                if link_failure(error.errno or 0) not in _NO_FOLDER:
                    return  # the pool has the file, or can create it from the store
                self._make_folder(name[:2])

    def _fill(self, name: str, node: FileNode, *, replace: bool) -> bool:
        chunks = partial(content, self.objects, node, self.token_paths)
        return self._write(name, node, lambda fd: write_chunks(fd, chunks()), replace=replace)

    def _write(
        self, name: str, node: FileNode, fill: Callable[[int], int], *, replace: bool = False
    ) -> bool:
        """Write a pool file; return False if the pool is not writable.

        `fill` writes the content to a descriptor and returns its size in bytes. Unless `replace` is
        set, an existing file stays.
        """
        temporary = f"{name[:3]}.{name[3:]}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            fd = self._create(temporary)
        except OSError as error:
            if error.errno in NOT_WRITABLE:
                return False
            raise
        try:
            size = fill(fd)
            os.fchmod(fd, stat.S_IMODE(node.mode))
            mtime = sealed_mtime(node.oid, size, node.mtime)
            os.utime(fd, ns=(mtime, mtime))
            if replace or not _link_first(temporary, name, self._fd):
                os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._fd)
            raise
        finally:
            os.close(fd)
        return True

    def _create(self, name: str) -> int:
        """Create a file of the pool, and missing folders; return its descriptor."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(name, flags, 0o600, dir_fd=self._fd)
        except OSError as error:
            if link_failure(error.errno or 0) not in _NO_FOLDER:
                raise
        self._make_folder(name[:2])
        return os.open(name, flags, 0o600, dir_fd=self._fd)

    # the generation

    @property
    def _generation_file(self) -> Path:
        return self.folder / "generation"

    def generation(self) -> int:
        """Return the number of changed files detected in this pool so far."""
        try:
            return int(self._generation_file.read_text())
        except (OSError, ValueError):
            return 0

    def advance(self) -> None:
        """Increment the generation, so that directories linked earlier are verified."""
        with contextlib.suppress(OSError), locked(self.folder / "lock"):
            replace_file(self._generation_file, f"{self.generation() + 1}\n".encode())


def _link_first(temporary: str, name: str, folder: int) -> bool:
    """Move a file to its name unless that exists; return False if links are not supported."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError:
        return False
    os.unlink(temporary, dir_fd=folder)
    return True


def _name(node: FileNode) -> str:
    text = node.oid.hex()
    dated = "" if node.mtime is None else f"@{node.mtime}"
    return f"{text[:2]}/{text[2:]}-{node.mode & 0o7777:o}{dated}"


class _Changed(OSError):
    """A file has changed since its capture."""


def _clone(source: int, target: int, captured: ScannedFile) -> int:
    """Copy a file to a descriptor; return its size in bytes. Raises _Changed."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:  # most file systems do not support it
        offset = 0
        while copied := os.sendfile(target, source, offset, 1 << 30):
            offset += copied
    state = os.fstat(source)
    if (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns) != captured[2:]:
        raise _Changed
    return state.st_size
