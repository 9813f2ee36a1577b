"""Follow how a traced command changes names, to find the files that it read as they were before.

A command that creates, renames and links files reads its own results under any name. The state that
matters is that of the objects before the command. A `Namespace` therefore maps each path that the
command uses, at that moment, to the *origin*: the path of the same object before the command, or
nothing if the command created it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

MOST_LINKS = 40
"""The number of symbolic links that Linux follows in one path."""


class Before(NamedTuple):
    """A file, directory or link before the command."""

    mode: int
    """The type and the permissions, as in `st_mode`."""
    target: bytes = b""
    """The target of a symbolic link."""

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


class View(Protocol):
    """The files as they were before a command."""

    def lookup(self, path: bytes) -> Before | None:
        """Return what was at an absolute path without links in its folders, or None."""
        ...

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in a directory."""
        ...


class NamedObject(NamedTuple):
    """An object at a path at some moment."""

    origin: bytes = b""
    """The path of the object before the command; empty if the command created it."""
    before: Before | None = None
    """The object before the command; None if there was nothing at the origin."""
    made: Before | None = None
    """The object that the command created here."""

    @property
    def now(self) -> Before | None:
        """What is there at this moment."""
        return self.made or self.before

    @property
    def is_link(self) -> bool:
        return self.now is not None and self.now.is_link

    @property
    def is_directory(self) -> bool:
        return self.now is not None and self.now.is_directory

    @property
    def target(self) -> bytes:
        """The target of a link."""
        return b"" if self.now is None else self.now.target


_REMOVED = NamedObject()
_ROOT = NamedObject(b"/", Before(stat.S_IFDIR | 0o755))
_OPAQUE = b"/proc"
"""Links in it depend on the process that follows them."""


class Resolved(NamedTuple):
    """The end of a path: its canonical form and the object there."""

    path: bytes
    """Without links in its folders; with the remaining parts if a folder is missing."""
    node: NamedObject
    links: tuple[bytes, ...] = ()
    """The origins of the links on the way that existed before the command."""

    @property
    def is_missing(self) -> bool:
        return self.node.now is None


@dataclass(slots=True)
class Namespace:
    """The names that a command sees at the present point of its trace."""

    view: View
    changed: dict[bytes, NamedObject] = field(default_factory=dict)
    """What the command put at a path, by canonical path."""
    _folders: dict[bytes, Resolved] = field(default_factory=dict)
    """Resolved folders, until a directory or a link changes."""
    _before: dict[bytes, Before | None] = field(default_factory=dict)

    def find(self, folder: bytes, path: bytes, *, follow: bool = True) -> Resolved:
        """Return the end of a path; in a loop of links, the last one on the way.

        `folder` is the canonical folder that a relative path starts from. With `follow`, a link at
        the end is followed.
        """
        absolute = os.path.join(folder, path)
        parent, _, name = absolute.rpartition(b"/")
        if name in (b"", b".", b".."):
            return self._walk(absolute, follow=follow)
        start = self._folder(parent)
        at = joined(start.path, name)
        if at.startswith(_OPAQUE):
            return self._walk(absolute, follow=follow)
        if start.node.is_directory:
            node = self._child(at, start.node, name)
            if not (follow and node.is_link):
                return Resolved(at, node, start.links)
        elif start.is_missing and b".." not in parent:
            return Resolved(*_missing(start.path, start.node, [name]), start.links)
        return self._walk(absolute, follow=follow)

    def _folder(self, path: bytes) -> Resolved:
        if path not in self._folders:
            self._folders[path] = self._walk(path, follow=True)
        return self._folders[path]

    def _walk(self, path: bytes, *, follow: bool) -> Resolved:
        """Follow a path from the root, part by part."""
        pending = _parts(path)
        above = [(b"/", _ROOT)]
        links: list[bytes] = []
        followed = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                above = above[:-1] or above
                continue
            folder, parent = above[-1]
            at = joined(folder, name)
            node = self._child(at, parent, name)
            if at == _OPAQUE and pending:
                rest = joined(at, b"/".join(reversed(pending)))
                return Resolved(rest, NamedObject(rest, Before(0)), tuple(links))
            if node.is_link and (pending or follow):
                followed += 1
                if followed > MOST_LINKS:
                    return Resolved(at, node, tuple(links))
                if node.made is None:
                    links.append(node.origin)
                pending += _parts(node.target)
                if node.target.startswith(b"/"):
                    above = above[:1]
            elif pending and not node.is_directory:
                return Resolved(*_missing(at, node, pending), tuple(links))
            else:
                above.append((at, node))
        at, node = above[-1]
        return Resolved(at, node, tuple(links))

    def _child(self, path: bytes, parent: NamedObject, name: bytes) -> NamedObject:
        own = self.changed.get(path)
        if own is not None:
            return own
        if parent.made is not None or not parent.origin:
            return _REMOVED
        origin = joined(parent.origin, name)
        if origin not in self._before:
            self._before[origin] = self.view.lookup(origin)
        return NamedObject(origin, self._before[origin])

    def put(self, place: Resolved, node: NamedObject) -> None:
        """Note that the command replaced the object at a place, or created one."""
        if any(state.is_directory or state.is_link for state in (place.node, node)):
            self._folders.clear()
        self.changed[place.path] = node

    def make(self, place: Resolved, made: Before) -> None:
        """Note that the command created an object at a place."""
        self.put(place, NamedObject(made=made))

    def remove(self, place: Resolved) -> None:
        """Note that the command removed the object at a place."""
        self.put(place, _REMOVED)

    def move(self, source: Resolved, target: Resolved) -> None:
        """Note that the command renamed an object."""
        node = source.node
        inside: dict[bytes, NamedObject] = {}
        if node.is_directory:
            prefix = source.path + b"/"
            for path in [path for path in self.changed if path.startswith(prefix)]:
                inside[target.path + path[len(source.path) :]] = self.changed.pop(path)
        self.put(target, node)
        self.changed.update(inside)
        self.remove(source)

    def below(self, origin: bytes) -> Iterator[tuple[bytes, Before]]:
        """Yield all objects that were in a directory before the command, with their origins."""
        for name in self.view.names(origin):
            path = joined(origin, name)
            before = self.view.lookup(path)
            if before is not None:
                yield path, before
                if before.is_directory:
                    yield from self.below(path)


def joined(folder: bytes, name: bytes) -> bytes:
    """Return the path of a name in a folder."""
    if folder == b"/":
        return b"/" + name
    return folder + b"/" + name  # faster than os.path.join


def _parts(path: bytes) -> list[bytes]:
    """Return the parts of a path, last first."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def _missing(at: bytes, node: NamedObject, pending: list[bytes]) -> tuple[bytes, NamedObject]:
    """Return the place of a path that needs a folder where there is none."""
    rest = b"/".join(reversed(pending))
    if b".." in pending:
        return at, NamedObject(node.origin)
    origin = joined(node.origin, rest) if node.origin and node.made is None else b""
    return joined(at, rest), NamedObject(origin)
