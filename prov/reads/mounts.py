"""The files that a command sees in a sandbox of bubblewrap, by the sandbox's command line."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from prov.reads.disk import OnDisk
from prov.reads.namespace import Before, joined

_BINDS = ("--bind", "--bind-try", "--ro-bind", "--ro-bind-try", "--dev-bind")
_EMPTY = ("--tmpfs", "--dir")
_KERNEL = ("--dev", "--proc")
"""Mounts whose content is about the same as on the host."""
_FOLDER = Before(stat.S_IFDIR | 0o755)


@dataclass(slots=True)
class Mounts:
    """The files in a sandbox, as they are on disk now: a `View` of a trace."""

    sources: dict[bytes, bytes] = field(default_factory=dict)
    """Path in the sandbox -> the mounted path of the host; empty for an empty folder."""
    links: dict[bytes, bytes] = field(default_factory=dict)
    """Path in the sandbox -> the target of a symbolic link."""
    disk: OnDisk = field(default_factory=OnDisk)

    @staticmethod
    def of(command: Sequence[str]) -> Mounts:
        """Return the mounts of a command line of bubblewrap; a later mount hides an earlier one."""
        mounts = Mounts()
        words = list(map(os.fsencode, command))
        for at, option in enumerate(command):
            if option in _BINDS:
                mounts._mount(words[at + 2], words[at + 1])
            elif option in _EMPTY:
                mounts._mount(words[at + 1], b"")
            elif option in _KERNEL:
                mounts._mount(words[at + 1], words[at + 1])
            elif option == "--symlink":
                mounts.links[words[at + 2]] = words[at + 1]
            elif option == "--chdir":
                break  # the mounts come before, the command after it
        return mounts

    def _mount(self, path: bytes, source: bytes) -> None:
        if source and not os.path.lexists(source):
            return  # bubblewrap skips it, or fails
        for places in (self.sources, self.links):
            for hidden in [place for place in places if place.startswith(path + b"/")]:
                del places[hidden]
        self.sources[path] = source

    def lookup(self, path: bytes) -> Before | None:
        """Return what is at a path, or None."""
        if path in self.links:
            return Before(stat.S_IFLNK | 0o777, self.links[path])
        real = self.real(path)
        found = self.disk.lookup(real) if real else None
        if found is None and (path in self.sources or self._mounted_in(path)):
            return _FOLDER
        return found

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in a directory; none if it cannot be read."""
        real = self.real(path)
        names = self.disk.names(real) if real else []
        return sorted({*names, *self._mounted_in(path)})

    def head(self, path: bytes) -> bytes:
        """Return the first bytes of a file; empty if it cannot be read."""
        real = self.real(path)
        return self.disk.head(real) if real else b""

    def real(self, path: bytes) -> bytes:
        """Return the host's path of a path in the sandbox; empty if it is not on the host."""
        place = path
        while place not in self.sources:
            if place in (b"/", b""):
                return b""
            place = os.path.dirname(place)
        source = self.sources[place]
        if not source or place == path:
            return source
        return joined(source, path[len(place) :].lstrip(b"/"))

    def _mounted_in(self, path: bytes) -> set[bytes]:
        """Return the names in a folder that lead to mounts or links."""
        top = path.rstrip(b"/") + b"/"
        return {
            place[len(top) :].partition(b"/")[0]
            for places in (self.sources, self.links)
            for place in places
            if place.startswith(top) and place != top
        }
