"""The files on disk, as a trace compares them."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass

from prov.reads.namespace import Before
from prov.reads.programs import HEAD_BYTES


@dataclass(frozen=True, slots=True)
class OnDisk:
    """The files of this machine as they are now: a `View` for commands without a sandbox."""

    def lookup(self, path: bytes) -> Before | None:
        """Return what is at a path, or None."""
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                return Before(mode, os.readlink(path))
            return Before(mode)
        except OSError:
            return None

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in a directory; none if it cannot be read."""
        try:
            return sorted(os.listdir(path))
        except OSError:
            return []

    def head(self, path: bytes) -> bytes:
        """Return the first bytes of a file; empty if it cannot be read."""
        with contextlib.suppress(OSError):
            # a path can lead to a FIFO, which would block
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return os.read(fd, HEAD_BYTES)
            finally:
                os.close(fd)
        return b""
