"""The folders that an action starts from, as Directory messages.

Objects of git are files named by their ids. A file contains the header and the content that git
hashes: so its digest is the SHA-256 id of a blob, which prov knows already (prov.intake.digest).
The folder of a tree contains the file of the tree itself, the files of its blobs, and the folders
of its trees, named by their ids. A folder therefore depends on its tree alone, and names that a
server might reject do not occur.

Host tools, by far the largest part, are plain files instead, which an action copies without
hashing or inflating them.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prov.farm.order import TOOLS
from prov.files import read_cache, write_cache
from prov.intake.digest import Digests
from prov.reapi.blobs import Blob, BlobDigest, blob_of, blob_of_file
from prov.reapi.wire import messages_pb2 as wire
from prov.records.ids import CommitId
from prov.store.objects import MODE_DIRECTORY, Kind, Oid
from prov.store.odb import ObjectDatabase


@dataclass(frozen=True, slots=True, eq=False)
class InputFolder:
    """A folder of an action's input root."""

    blob: Blob
    """Its Directory message."""
    files: tuple[Blob, ...]
    below: tuple[InputFolder, ...]

    def contents(self) -> Iterator[Blob]:
        """Yield the contents of the folder and of all folders below, some several times."""
        pending, seen = [self], set[BlobDigest]()
        while pending:
            folder = pending.pop()
            if folder.blob.digest not in seen:
                seen.add(folder.blob.digest)
                yield folder.blob
                yield from folder.files
                pending += folder.below


def make_folder(
    files: Mapping[str, Blob],
    below: Mapping[str, InputFolder],
    executable: frozenset[str] = frozenset(),
) -> InputFolder:
    """Return a folder of files and folders, by name."""
    message = wire.Directory(
        files=[
            wire.FileNode(name=name, digest=file.digest.message, is_executable=name in executable)
            for name, file in sorted(files.items())
        ],
        directories=[
            wire.DirectoryNode(name=name, digest=folder.blob.digest.message)
            for name, folder in sorted(below.items())
        ],
    )
    data = message.SerializeToString(deterministic=True)
    return InputFolder(blob_of(data), tuple(files.values()), tuple(below.values()))


def folder_of_files(files: Iterable[tuple[str, Path]]) -> InputFolder:
    """Return a folder of files on disk, from their paths in the folder."""
    own: dict[str, Path] = {}
    inside: dict[str, list[tuple[str, Path]]] = {}
    for place, path in files:
        name, _, rest = place.partition("/")
        if rest:
            inside.setdefault(name, []).append((rest, path))
        else:
            own[name] = path
    return make_folder(
        {name: blob_of_file(path) for name, path in own.items()},
        {name: folder_of_files(below) for name, below in inside.items()},
        frozenset(name for name, path in own.items() if path.stat().st_mode & stat.S_IXUSR),
    )


def header(kind: Kind, size: int) -> bytes:
    """Return what precedes the content of an object when git hashes it."""
    return b"%s %d\0" % (kind.encode(), size)


@dataclass(slots=True)
class ObjectFolders:
    """Makes the folders of a store's objects."""

    objects: ObjectDatabase
    digests: Digests
    cache: Path
    """A folder for digests."""
    _trees: dict[Oid, InputFolder] = field(default_factory=dict)
    _tools: dict[Oid, InputFolder] = field(default_factory=dict)

    def of_order(self, commit: CommitId) -> InputFolder:
        """Return the folder of an order: all its objects except the blobs of the host tools."""
        kind, data = self.objects.read(commit)
        assert kind == "commit"
        tree = self.objects.commit(commit).tree
        files = {
            commit.hex(): blob_of(header(kind, len(data)) + data),
            tree.hex(): self._tree_file(tree),
        }
        below = {}
        for entry in self.objects.tree(tree):
            if entry.name == TOOLS:
                files |= {oid.hex(): self._tree_file(oid) for oid in self._trees_below(entry.oid)}
            elif entry.mode == MODE_DIRECTORY:
                below[entry.oid.hex()] = self.of_tree(entry.oid)
            else:
                files[entry.oid.hex()] = self._blob(entry.oid)
        return make_folder(files, below)

    def of_tools(self, commit: CommitId) -> InputFolder:
        """Return the folder of an order's host tools: plain files, named by the ids of blobs."""
        tree = next(
            entry.oid
            for entry in self.objects.tree(self.objects.commit(commit).tree)
            if entry.name == TOOLS
        )
        folder = self._tools.get(tree)
        if folder is None:
            files = {
                oid.hex(): Blob(digest, partial(self.objects.stream_blob, oid))
                for oid, digest in self._tool_digests(tree).items()
            }
            folder = self._tools[tree] = make_folder(files, {})
        return folder

    def _tool_digests(self, tree: Oid) -> dict[Oid, BlobDigest]:
        """Return the digests of the contents of all blobs below a tree; cached on disk."""
        path = self.cache / f"tools-{tree.hex()}"
        cached = read_cache(path)
        if cached is None:
            blobs = {
                entry.oid
                for below in self._trees_below(tree)
                for entry in self.objects.tree(below)
                if entry.mode != MODE_DIRECTORY
            }
            cached = {oid: self._plain_digest(oid) for oid in blobs}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_cache(path, cached)
        return {oid: BlobDigest(*row) for oid, row in cached.items()}

    def _plain_digest(self, oid: Oid) -> tuple[str, int]:
        hasher, size = hashlib.sha256(), 0
        for chunk in self.objects.stream_blob(oid):
            hasher.update(chunk)
            size += len(chunk)
        return hasher.hexdigest(), size

    def _trees_below(self, tree: Oid) -> Iterator[Oid]:
        """Yield the ids of a tree and of all trees below it, each once."""
        pending, seen = [tree], set[Oid]()
        while pending:
            oid = pending.pop()
            if oid not in seen:
                seen.add(oid)
                yield oid
                entries = self.objects.tree(oid)
                pending += [entry.oid for entry in entries if entry.mode == MODE_DIRECTORY]

    def _tree_file(self, tree: Oid) -> Blob:
        data = self.objects.read(tree)[1]
        return blob_of(header("tree", len(data)) + data)

    def of_tree(self, tree: Oid) -> InputFolder:
        """Return the folder of a tree, and of all objects below it."""
        folder = self._trees.get(tree)
        if folder is None:
            files = {tree.hex(): self._tree_file(tree)}
            below = {}
            for entry in self.objects.tree(tree):
                if entry.mode == MODE_DIRECTORY:
                    below[entry.oid.hex()] = self.of_tree(entry.oid)
                else:
                    files[entry.oid.hex()] = self._blob(entry.oid)
            folder = self._trees[tree] = make_folder(files, below)
        return folder

    def _blob(self, oid: Oid) -> Blob:
        digest = self.digests.blob(oid)
        head = header("blob", digest.size)
        place = BlobDigest(digest.id.hex(), len(head) + digest.size)
        return Blob(place, partial(self._chunks, head, oid))

    def _chunks(self, head: bytes, oid: Oid) -> Iterator[bytes]:
        yield head
        yield from self.objects.stream_blob(oid)
