"""The pool: plain files to hardlink from, keyed by blob and mode.

Git's objects are compressed, so that nothing in the store can be linked. A hardlink shares inode, mode and mtime, and
root writes through a read-only one: a pool file is *sealed* by an mtime whose nanoseconds derive from its blob, so
that one lstat (size, mode, owner, mtime) tells whether somebody wrote to it. One that was is made again from git.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from prov.store.objects import Oid, object_id
from prov.store.odb import ObjectDatabase
from prov.worktree.attributes import Node
from prov.worktree.checkout import EPOCH_NS, Private, write_blob

LINK_REFUSED = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES)
"""What a file system says that can't link here: another one, one without hardlinks, 65,000 links on ext4."""
EMPTY_BLOB = object_id("blob", b"")


def sealed_mtime(oid: Oid, size: int) -> int:
    """Return the mtime, in nanoseconds, of a pool file with this blob of `size` bytes.

    The size is in the seconds (within three years from 1980), so that a tool that changes a file and puts its mtime
    back, as `strip -p` does, breaks the seal too.
    """
    return EPOCH_NS + size % 100_000_000 * 1_000_000_000 + int.from_bytes(oid[:4]) % 1_000_000_000


@dataclass(slots=True)
class Pool:
    """A placer that hardlinks. Where linking is refused it places a copy; empty files are not worth a link."""

    folder: Path
    objects: ObjectDatabase
    repaired: list[Path] = field(default_factory=list)
    """Pool files that were found changed and made again."""

    def path(self, oid: Oid, mode: int) -> Path:
        text = oid.hex()
        return self.folder / text[:2] / f"{text[2:]}-{stat.S_IMODE(mode):o}"

    def place(self, node: Node, name: bytes, folder: int) -> None:
        if node.xattrs:
            Private(self.objects).place(node, name, folder)
            return
        if node.oid == EMPTY_BLOB:
            Private(self.objects).place(node._replace(mtime=sealed_mtime(node.oid, 0)), name, folder)
            return
        source = self.path(node.oid, node.mode)
        if not self.intact(source, node):
            self.fill(source, node)
        try:
            os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in LINK_REFUSED:
                raise
            Private(self.objects).place(node._replace(mtime=source.lstat().st_mtime_ns), name, folder)

    def intact(self, path: Path, node: Node) -> bool:
        """Tell whether a pool file is there and as it was sealed."""
        try:
            state = path.lstat()
        except FileNotFoundError:
            return False
        sealed = sealed_mtime(node.oid, state.st_size)
        if state.st_mtime_ns == sealed and state.st_mode == node.mode and state.st_uid == os.geteuid():
            return True
        self.repaired.append(path)
        return False

    def fill(self, path: Path, node: Node) -> None:
        """Write a pool file from its blob; whoever comes first wins, and a changed file is replaced."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_blob(self.objects, node.oid, fd)
            os.fchmod(fd, stat.S_IMODE(node.mode))
            mtime = sealed_mtime(node.oid, os.fstat(fd).st_size)
            os.utime(fd, ns=(mtime, mtime))
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)
