"""What a command changed in its directory, to make the same changes in a later state of it.

Only the changed paths are touched. A path that the command wrote counts as changed even if its
content was the same before: it can differ in the later state.

    - PATH    deleted
    + PATH    created or changed; PATH/. stands for the attributes of a directory
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from prov.errors import CHECK_STORE, StoreError
from prov.records.output import Output
from prov.worktree.attributes import (
    EMPTY,
    FILE_TYPE,
    FileNode,
    Listing,
    Pair,
    TreeReader,
    TreeReaderWriter,
    read_listing,
    write_listing,
)

Changes = Mapping[bytes, FileNode | None]
"""Path -> new entry, None if it is deleted. Entries of directories are without their content."""
_NEW_FOLDER = FileNode(stat.S_IFDIR | 0o755)
_OWN = b"."


@dataclass(slots=True)
class _ChangeFinder:
    reader: TreeReader
    written: frozenset[bytes]
    above: frozenset[bytes]
    """The folders of the written paths."""
    changes: dict[bytes, FileNode | None] = field(default_factory=dict)

    def folders(self, prefix: bytes, before: Pair, after: Pair) -> None:
        if before == after and prefix.rstrip(b"/") not in self.above:
            return
        old, new = read_listing(self.reader, before), read_listing(self.reader, after)
        if old[_OWN].mode != new[_OWN].mode:
            self.changes[prefix + _OWN] = new[_OWN]
        for name in sorted((old.keys() | new.keys()) - {_OWN}):
            self.entries(prefix + name, old.get(name), new.get(name))

    def entries(self, path: bytes, old: FileNode | None, new: FileNode | None) -> None:
        if new is None:
            self.changes[path] = None
        elif not new.is_directory:
            if old is None or path in self.written or old.same_content != new.same_content:
                self.changes[path] = new
        elif old is not None and old.is_directory:
            self.folders(path + b"/", old.pair, new.pair)
        else:
            self.changes[path] = _NEW_FOLDER
            self.changes[path + b"/" + _OWN] = read_listing(self.reader, new.pair)[_OWN]
            self.folders(path + b"/", EMPTY, new.pair)


def changes_between(
    reader: TreeReader, before: Pair, after: Pair, written: Collection[bytes] = ()
) -> Changes:
    """Return the changes from one state of a directory to another.

    `written` are paths that count as changed if they exist afterwards.
    """
    folders = {folder for path in written for folder in _folders(path)}
    comparison = _ChangeFinder(reader, frozenset(written), frozenset(folders))
    comparison.folders(b"", before, after)
    return comparison.changes


def _folders(path: bytes) -> Iterator[bytes]:
    """Yield the folders above a path, with the top as an empty path."""
    while path:
        path = os.path.dirname(path)
        yield path


def changed(
    objects: TreeReaderWriter, pair: Pair, changes: Changes, mtime: int | None = None
) -> Pair:
    """Return a state of a directory with changes; write its trees.

    The changed entries get the time `mtime`, in nanoseconds.
    """
    listing = read_listing(objects, pair)
    inner: dict[bytes, dict[bytes, FileNode | None]] = {}
    for path, node in changes.items():
        name, _, rest = path.partition(b"/")
        if rest:
            inner.setdefault(name, {})[rest] = node
        elif node is None:
            listing.pop(name, None)
        else:
            listing[name] = node._replace(mtime=mtime)
    for name, below in inner.items():
        folder = listing.get(name, _NEW_FOLDER)
        if not folder.is_directory:
            folder = _NEW_FOLDER
        if name in listing or any(node is not None for node in below.values()):
            listing[name] = folder._replace(pair=changed(objects, folder.pair, below, mtime))
    return write_listing(objects, listing, mtimes=mtime is not None)


def output_of_changes(objects: TreeReaderWriter, changes: Changes) -> Output:
    """Return an output with all new entries of changes."""
    new = {path: node for path, node in changes.items() if node is not None}
    return Output(changed(objects, EMPTY, new))


def encode_changes(changes: Changes) -> str:
    """Return the paths of changes as the text in a record."""
    signs = {True: "-", False: "+"}
    return "".join(
        f"{signs[node is None]} {_escaped(path)}\n" for path, node in sorted(changes.items())
    )


def _escaped(path: bytes) -> str:
    return os.fsdecode(path).encode("unicode_escape").decode("ascii")


def decode_changes(reader: TreeReader, text: bytes, pair: Pair) -> Changes:
    """Return the changes with these paths, and the entries of a state of the directory or output.

    Raises StoreError if the text is invalid, or an entry is missing.
    """
    nodes = _Nodes(reader, pair)
    changes: dict[bytes, FileNode | None] = {}
    try:
        for line in text.decode("ascii").splitlines():
            sign, _, escaped = line.partition(" ")
            path = os.fsencode(escaped.encode("ascii").decode("unicode_escape"))
            changes[path] = {"+": nodes.at, "-": _nothing}[sign](path)
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"invalid list of changes in a record: {error}", hint=CHECK_STORE
        ) from error
    return changes


def _nothing(_path: bytes) -> None:
    return None


@dataclass(slots=True)
class _Nodes:
    """Finds entries of a recorded directory, and reads each folder once."""

    reader: TreeReader
    pair: Pair
    listings: dict[bytes, Listing] = field(default_factory=dict)

    def at(self, path: bytes) -> FileNode:
        folder, _, name = path.rpartition(b"/")
        node = self.listing(folder)[name]
        if node.mode & FILE_TYPE == stat.S_IFDIR and name != _OWN:
            return _NEW_FOLDER
        return node

    def listing(self, folder: bytes) -> Listing:
        if folder not in self.listings:
            pair = self.pair
            if folder:
                parent, _, name = folder.rpartition(b"/")
                pair = self.listing(parent)[name].pair
            self.listings[folder] = read_listing(self.reader, pair)
        return self.listings[folder]
