"""Write the trees of a captured directory: content and attributes, from the leaves up."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from prov.store.objects import EMPTY_TREE, MODE_EXECUTABLE, MODE_FILE, Entry, Oid, escape_name
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import (
    BLOB_NAME,
    ROOT,
    FileNode,
    Pair,
    add_directory,
    attribute_line,
    git_mode,
)
from prov.worktree.folders import NO_OID, Folder, FolderState, Owner, Xattrs
from prov.worktree.scan import DEVICES, NO_MTIME

_NANO = 1_000_000_000
_ORDINARY = frozenset((MODE_FILE, MODE_EXECUTABLE, stat.S_IFLNK | 0o777))
"""Modes that need no attribute line: git's own modes of files, and links."""
_TO_ESCAPE = re.compile(rb"[ \\\t\n]")


def join(path: bytes, name: bytes) -> bytes:
    """Return the path of an entry of a folder."""
    return path + b"/" + name if path else name


def link_groups(folders: Mapping[bytes, Folder]) -> dict[bytes, bytes]:
    """Return the first path of its group for each file with several links in these folders."""
    members: dict[tuple[int, int], list[bytes]] = {}
    for path, folder in folders.items():
        for device, inode, name in folder.links:
            members.setdefault((device, inode), []).append(join(path, name))
    groups = [sorted(paths) for paths in members.values() if len(paths) > 1]
    return {path: group[0] for group in groups for path in group}


class TreeBuilder:
    """Writes the trees of folders whose files' ids are known.

    `groups` are the hardlink groups, as from `link_groups`.
    """

    def __init__(
        self, writer: ObjectWriter, folders: Mapping[bytes, Folder], groups: Mapping[bytes, bytes]
    ) -> None:
        self._writer = writer
        self._folders = folders
        self._groups = groups

    def record(self, path: bytes, state: FolderState, folder: Folder) -> Folder:
        """Write the trees of one folder, whose subfolders are written; return it with its pairs."""
        inside = [(name, self._folders[join(path, name)]) for name in state.folders]
        recorded = [(name, below.recorded) for name, below in inside]
        stable = [(name, below.stable) for name, below in inside]
        tree = self._content(state, folder, recorded)
        dated = self._lines(path, state, folder.xattrs, mtimes=True, links=True)
        undated = self._lines(path, state, folder.xattrs, mtimes=False, links=False)
        return folder._replace(
            recorded=Pair(tree, self._attributes(dated, recorded)),
            stable=Pair(tree, self._attributes(undated, stable)),
        )

    def stable_with_links(self, path: bytes) -> Pair:
        """Return the pair of the folder at a path without mtimes but with hardlink groups."""
        folder = self._folders[path]
        state = folder.decode()
        below = [(name, self.stable_with_links(join(path, name))) for name in state.folders]
        lines = self._lines(path, state, folder.xattrs, mtimes=False, links=True)
        return Pair(self._content(state, folder, below), self._attributes(lines, below))

    def _content(self, state: FolderState, folder: Folder, below: list[tuple[bytes, Pair]]) -> Oid:
        """Write the content tree of a folder, which is the same with and without mtimes."""
        content = [
            Entry(escape_name(name), git_mode(row[0]), oid)
            for name, row, oid in zip(state.names, state.stats, folder.oids, strict=True)
            if oid != NO_OID
        ]
        for name, pair in below:
            add_directory(content, [], escape_name(name), pair)
        return self._writer.add_tree(content) if content else EMPTY_TREE

    def _attributes(self, lines: bytes, below: list[tuple[bytes, Pair]]) -> Oid | None:
        """Write the attributes tree of a folder; return None if all have their defaults."""
        attributes: list[Entry] = []
        for name, pair in below:
            add_directory([], attributes, escape_name(name), pair)
        if lines:
            attributes.append(Entry(BLOB_NAME, MODE_FILE, self._writer.add("blob", lines)))
        return self._writer.add_tree(attributes) if attributes else None

    def _lines(
        self,
        path: bytes,
        state: FolderState,
        xattrs: Mapping[bytes, Xattrs],
        *,
        mtimes: bool,
        links: bool,
    ) -> bytes:
        """Return the attribute lines of a folder and its entries."""
        groups = self._groups if links and state.links else {}
        owners = dict(state.owners)
        own = _own_line(state, owners.get(b".", ROOT), mtimes=mtimes)
        if not groups and not xattrs and not owners and _are_plain(state):
            if not mtimes:
                return own
            if not _TO_ESCAPE.search(b"\0".join(state.names)):
                return own + _mtime_lines(state)
        lines = [own]
        for name, (mode, _, size, mtime, _) in zip(state.names, state.stats, strict=True):
            node = FileNode(
                mode,
                mtime=mtime,
                link=groups.get(join(path, name), b""),
                xattrs=xattrs.get(name, ()),
                rdev=(os.major(size), os.minor(size)) if stat.S_IFMT(mode) in DEVICES else None,
                owner=owners.get(name, ROOT),
            )
            lines.append(attribute_line(name, node, mtimes=mtimes))
        return b"".join(lines)


def _own_line(state: FolderState, owner: Owner, *, mtimes: bool) -> bytes:
    """Return the line for a directory itself."""
    mode, mtime = state.own
    node = FileNode(mode, mtime=None if mtime == NO_MTIME else mtime, owner=owner)
    return attribute_line(b".", node, mtimes=mtimes)


def _are_plain(state: FolderState) -> bool:
    """Return whether all entries have default modes."""
    return _ORDINARY.issuperset([row[0] for row in state.stats])


def _mtime_lines(state: FolderState) -> bytes:
    """Return the lines of entries that have only an mtime and need no escaping."""
    dates = [
        (name, row[3] // _NANO, row[3] % _NANO)
        for name, row in zip(state.names, state.stats, strict=True)
    ]
    return b"".join([b"%s\tmtime=%d.%09d\n" % date for date in dates])
