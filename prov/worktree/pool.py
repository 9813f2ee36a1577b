"""The pool: plain files to hardlink from, keyed by blob and mode, and by mtime where a tree has
one.

Git's objects are compressed, so that nothing in the store can be linked. A hardlink shares inode,
mode and mtime, and root writes through a read-only one: a pool file is *sealed* by an mtime that
derives from its blob and size, so that one lstat (size, mode, owner, mtime) tells whether somebody
wrote to it. What was linked is looked at right after; one that was changed is made again from git,
and nobody gets a link to it. The *generation* is a number that moves with each such find, so that
who linked before knows that there is something to look for.
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
from functools import partial
from pathlib import Path

from prov.files import close_to_others, locked, make_private, replace_file
from prov.store.objects import object_id
from prov.worktree.attributes import ROOT, FileNode
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
from prov.worktree.scan import ScannedFile

LINK_REFUSED = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EACCES, errno.EROFS, errno.ENOSYS)
"""What a file system says that can't link here: another one, one without hardlinks, another's file,
read-only.
"""
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
EMPTY_BLOB = object_id("blob", b"")
FICLONE = 0x40049409
"""linux/fs.h: share the blocks of another file, where the file system can."""
ATTEMPTS = 4
GUARDED, OPEN, STAGED = "pool", "pool-open", "pool-staged"
"""Folders of the pools in a store's cache: one whose files only sandboxes see, read-only, one for
all others, and one whose files are also those of a build directory, where BitBake staged them.

So nothing that a task without a sandbox writes through a link can reach a task that has one.
"""
POOLS = (GUARDED, OPEN, STAGED)


@dataclass(slots=True)
class Pool:
    """A placer that hardlinks.

    Where linking is refused it places a copy; empty files are not worth a link.
    """

    folder: Path
    objects: ObjectReader
    token_paths: TokenPaths | None = None
    """Whose paths stand for tokens; None leaves the tokens."""
    private: frozenset[bytes] = frozenset()
    """Paths that get a copy of their own."""
    shares: bool = True
    by_path: bytes | None = None
    """If set, equal files at different paths get inodes of their own; pools with different values
    share none.
    """
    notes: list[tuple[bytes, str]] = field(default_factory=list)
    _fd: int = -1

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def name(self, node: FileNode, path: bytes = b"") -> str:
        """Return the name, below the pool's folder, of the file that a node at a path is linked
        to.
        """
        place = f"-{self.token_paths.digest(node.fixme)}" if node.fixme and self.token_paths else ""
        return _name(node) + place + self._own(path)

    def _own(self, path: bytes) -> str:
        """Return what keeps a path's file apart from equal ones, as the end of its name."""
        if self.by_path is None:
            return ""
        return "+" + hashlib.sha1(self.by_path + b"\0" + path).hexdigest()[:12]

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        if (
            node.fixme
            or node.xattrs
            or node.oid == EMPTY_BLOB
            or node.owner != ROOT
            or self.private
        ):
            if path in self.private or self._is_private(node):
                self._private(node, path, folder)
                return
            source = self.name(node, path)
            if (
                node.fixme
                and self.token_paths is not None
                and not has_room(self.objects, node, self.token_paths)
            ):
                self.notes.append((path, NO_ROOM))
        else:
            source = _name(node) + self._own(path)
        name = path[path.rfind(b"/") + 1 :]
        for _ in range(ATTEMPTS):
            try:
                os.link(source, name, src_dir_fd=self._fd, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno == errno.EBADF and self._open():
                    continue
                # EMLINK: all 65,000 links of the inode are taken (ext4); another one comes under
                # its name
                full = error.errno == errno.EMLINK
                if (full or error.errno in (errno.ENOENT, errno.EBADF)) and self._fill(
                    source, node, replace=full
                ):
                    continue
                if error.errno in (*LINK_REFUSED, errno.ENOENT, errno.EMLINK, errno.EBADF):
                    break
                raise
            if is_sealed(os.stat(name, dir_fd=folder, follow_symlinks=False), node):
                return
            os.unlink(name, dir_fd=folder)
            self.notes.append((path, "the pool's file had been written to, and was made again"))
            if not self.repair(node, path):
                break
        self._private(node, path, folder)

    def _is_private(self, node: FileNode) -> bool:
        # what is made for one place is of no use to another
        own = node.fixme and self.token_paths is not None and not self.token_paths.constant
        return bool(own or node.xattrs or node.oid == EMPTY_BLOB or node.owner != ROOT)

    def _private(self, node: FileNode, path: bytes, folder: int) -> None:
        PrivatePlacer(self.objects, self.token_paths, sealed=True, notes=self.notes).place(
            node, path, folder
        )

    def _make_folder(self, folder: Path) -> None:
        if not self.folder.is_dir():
            make_private(self.folder)
        folder.mkdir(parents=True, exist_ok=True)

    def _open(self) -> bool:
        """Open the pool's folder for links; false where there is none yet."""
        with contextlib.suppress(OSError):
            self._fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            close_to_others(self._fd)
        return self._fd >= 0

    # files of the pool

    def intact(self, node: FileNode) -> bool:
        """Tell whether the pool's file for a node is as it was sealed, or not there."""
        try:
            return is_sealed((self.folder / self.name(node)).lstat(), node)
        except FileNotFoundError:
            return True

    def repair(self, node: FileNode, path: bytes = b"") -> bool:
        """Make a file that was changed again from git, under another inode; return whether that
        could be done.
        """
        self.advance()  # first: a kill in between makes others look once too often
        return self._fill(self.name(node, path), node, replace=True)

    def adopt(self, path: Path, node: FileNode, captured: ScannedFile) -> None:
        """Fill in a node's file from the one of which it was captured: by reflink, or by a copy
        that the kernel makes.

        Never by a link: the inode belongs to a WORKDIR. `captured` is the stat that goes with the
        node's content.
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
        """Use a file itself as the pool's, for a place that no task writes to: links to the node
        share its inode.
        """
        link = self.folder / self.name(node, path)
        if self._is_private(node):
            return
        for _ in range(2):
            try:
                os.link(file, link, follow_symlinks=False)
                return
            except FileNotFoundError:
                self._make_folder(link.parent)
            except OSError:  # there is one already; or it comes out of the store when it is wanted
                return

    def _fill(self, name: str, node: FileNode, *, replace: bool) -> bool:
        chunks = partial(content, self.objects, node, self.token_paths)
        return self._write(name, node, lambda fd: write_chunks(fd, chunks()), replace=replace)

    def _write(
        self, name: str, node: FileNode, fill: Callable[[int], object], *, replace: bool = False
    ) -> bool:
        """Write a pool file; unless it is to replace one, whoever comes first wins.

        False where that can't be done.
        """
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            self._make_folder(path.parent)
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in NOT_WRITABLE:
                return False
            raise
        try:
            fill(fd)
            os.fchmod(fd, stat.S_IMODE(node.mode))
            mtime = sealed_mtime(node.oid, os.fstat(fd).st_size, node.mtime)
            os.utime(fd, ns=(mtime, mtime))
            if replace or not _link_first(temporary, path):
                os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        if (
            self._fd >= 0 and os.fstat(self._fd).st_nlink == 0
        ):  # the folder was deleted and is another one now
            os.close(self._fd)
            self._fd = -1
        return True

    # the generation

    @property
    def _generation_file(self) -> Path:
        return self.folder / "generation"

    def generation(self) -> int:
        """Return how often a changed file was found in this pool."""
        try:
            return int(self._generation_file.read_text())
        except (OSError, ValueError):
            return 0

    def advance(self) -> None:
        """Note that a changed file was found, so that all who linked before look at what they
        have.
        """
        with contextlib.suppress(OSError), locked(self.folder / "lock"):
            replace_file(self._generation_file, f"{self.generation() + 1}\n".encode())


def _link_first(temporary: Path, path: Path) -> bool:
    """Give a file its name unless another has it; false where that can't be done by a link."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    os.unlink(temporary)
    return True


def _name(node: FileNode) -> str:
    text = node.oid.hex()
    dated = "" if node.mtime is None else f"@{node.mtime}"
    return f"{text[:2]}/{text[2:]}-{node.mode & 0o7777:o}{dated}"


class _Changed(OSError):
    """A file is not as it was captured any more."""


def _clone(source: int, target: int, captured: ScannedFile) -> None:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:  # most file systems can't
        at = 0
        while copied := os.sendfile(target, source, at, 1 << 30):
            at += copied
    state = os.fstat(source)
    if (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns) != captured[2:]:
        raise _Changed
