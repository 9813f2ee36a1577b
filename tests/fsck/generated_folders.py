"""Recorded directories of a generated store, in memory. New objects are written one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Kind,
    Oid,
    encode_tree,
    object_id,
)
from prov.store.packs import PackStream
from prov.store.repository import Store
from prov.worktree.attributes import BLOB_NAME, EMPTY, Pair
from prov.worktree.placer import EPOCH_NS


class File(NamedTuple):
    """A file or symlink, with its mtime in nanoseconds."""

    oid: Oid
    mode: int = MODE_FILE
    mtime: int = EPOCH_NS


@dataclass(slots=True, eq=False)
class Folder:
    """An immutable folder, shared by all WORKDIRs that have it."""

    entries: dict[str, File | Folder] = field(default_factory=dict)
    mtime: int | None = None
    """In nanoseconds; None for a WORKDIR itself."""
    tree: Oid | None = None
    """Id of its content, after it is written."""
    attributes: Oid | None = None

    def at(self, path: str) -> File | Folder:
        found: File | Folder = self
        for part in path.split("/"):
            found = cast(Folder, found).entries[part]
        return found

    def folder(self, path: str) -> Folder:
        return cast(Folder, self.at(path))

    def files(self) -> Iterator[File]:
        for item in self.entries.values():
            if isinstance(item, Folder):
                yield from item.files()
            else:
                yield item


def with_items(folder: Folder, items: Mapping[str, File | Folder], now: int = EPOCH_NS) -> Folder:
    """Return a folder with additional items at these paths. New folders get the mtime `now`."""
    entries, below = dict(folder.entries), dict[str, dict[str, File | Folder]]()
    for path, item in items.items():
        first, _, rest = path.partition("/")
        if rest:
            below.setdefault(first, {})[rest] = item
        else:
            entries[first] = item
    for first, inside in below.items():
        entries[first] = with_items(
            cast(Folder, entries.get(first) or Folder(mtime=now)), inside, now
        )
    added = len(entries) != len(folder.entries) and folder.mtime is not None
    return Folder(entries, now if added else folder.mtime)


def without_times(folder: Folder) -> Folder:
    """Return the folder without mtimes, as in an output."""
    entries = {
        name: without_times(item) if isinstance(item, Folder) else item._replace(mtime=EPOCH_NS)
        for name, item in folder.entries.items()
    }
    return Folder(entries, EPOCH_NS, folder.tree)


def merged(folders: Sequence[Folder]) -> Folder:
    """Return the union of output folders that have no file in common."""
    if len(folders) == 1:
        return folders[0]
    below: dict[str, list[File | Folder]] = {}
    for folder in folders:
        for name, item in folder.entries.items():
            below.setdefault(name, []).append(item)
    entries = {
        name: merged(cast(list[Folder], items)) if isinstance(items[0], Folder) else items[0]
        for name, items in below.items()
    }
    return Folder(entries, EPOCH_NS)


class Objects:
    """Writes objects like `ObjectWriter`, in several packs, without reading finished packs."""

    def __init__(self, store: Store) -> None:
        self._folder = store.objects.folder
        self._stream = PackStream(self._folder)
        self._written = {EMPTY_TREE}

    def add(self, kind: Kind, data: bytes) -> Oid:
        oid = object_id(kind, data)
        if oid not in self._written:
            self._written.add(oid)
            self._stream.add(oid, kind, data)
        return oid

    def add_tree(self, entries: list[Entry]) -> Oid:
        return self.add("tree", encode_tree(entries))

    def add_commit(self, commit: Commit) -> Oid:
        return self.add("commit", commit.encode())

    def finish_pack(self) -> None:
        self._stream.finish()
        self._stream = PackStream(self._folder)

    def close(self) -> None:
        self._stream.finish()

    def abort(self) -> None:
        self._stream.abort()

    @property
    def size(self) -> int:
        """Bytes in the current pack."""
        return self._stream.size

    def file(self, data: bytes, mode: int = MODE_FILE, mtime: int = EPOCH_NS) -> File:
        return File(self.add("blob", data), mode, mtime)

    def tree(self, folder: Folder) -> Oid:
        """Write a folder's content."""
        if folder.tree is None:
            folder.tree = self.add_tree(
                [
                    Entry(name.encode(), MODE_DIRECTORY, self.tree(item))
                    if isinstance(item, Folder)
                    else Entry(name.encode(), item.mode, item.oid)
                    for name, item in folder.entries.items()
                ]
            )
        return folder.tree

    def attributes(self, folder: Folder) -> Oid:
        """Write a folder's mtimes, in the format of a WORKDIR."""
        if folder.attributes is None:
            lines = (
                []
                if folder.mtime is None
                else [b".\tmtime=%d.%09d\n" % divmod(folder.mtime, 1_000_000_000)]
            )
            entries = []
            for name, item in sorted(folder.entries.items()):
                if isinstance(item, Folder):
                    entries.append(Entry(name.encode(), MODE_DIRECTORY, self.attributes(item)))
                else:
                    lines.append(
                        b"%s\tmtime=%d.%09d\n" % (name.encode(), *divmod(item.mtime, 1_000_000_000))
                    )
            if lines:
                entries.append(Entry(BLOB_NAME, MODE_FILE, self.add("blob", b"".join(lines))))
            folder.attributes = self.add_tree(entries)
        return folder.attributes

    def pair(self, folder: Folder) -> Pair:
        return Pair(self.tree(folder), self.attributes(folder)) if folder.entries else EMPTY
