"""Copy objects from a remote into the store, after all of them are validated.

A remote is untrusted. In git's format, a tree can have two entries with the same name, a name that
leaves its directory or means `.git` on some file system, an invalid mode, a million nested folders,
or, by repeating one subtree, more files than any disk holds. The intake rejects all of these.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from prov.errors import StoreError
from prov.intake.digest import Digest, Digests, commit_digest, object_digest, tree_digest
from prov.intake.source import BlobReader, Content, Source, joined
from prov.intake.wellformed import BadObject, Limits, check_listing, checked_commit, checked_entries
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    MODE_SYMLINK,
    Commit,
    Entry,
    Kind,
    Oid,
    decode_tree,
    object_id,
)
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import Pair, read_listing

STREAMED = 1 << 20
"""Files of more bytes are streamed, not read as a whole."""
KEPT = 64 << 20
"""Bytes of trees kept in memory for later checks; other trees are read from the source again."""
OPEN = 4
"""Maximum size of all open nested trees, in trees of the maximum size."""

_RECORD = {
    **dict.fromkeys((b"inputs", b"output", b"dated", b"attributes", b"sysroot"), MODE_DIRECTORY),
    **dict.fromkeys((b"record", b"definition", b"log", b"environment"), MODE_FILE),
}
"""Part of a record -> mode of its entry."""
_PAIR = {
    **dict.fromkeys((b"content", b"attributes"), MODE_DIRECTORY),
    **dict.fromkeys((b"postprocess", b"fixed"), MODE_FILE),
}


@dataclass(slots=True)
class Intake:
    """Copies objects and everything below them from a source to a writer."""

    source: Source
    writer: ObjectWriter
    digests: Digests
    limits: Limits = field(default_factory=Limits)
    _entered: dict[Oid, Digest] = field(default_factory=dict)
    """Digests of copied objects, and of the requested objects in the store."""
    _fresh: set[Oid] = field(default_factory=set)
    """Copied objects: those that were not in the store."""
    _checked_pairs: set[Pair] = field(default_factory=set)
    _trees: dict[Oid, bytes] = field(default_factory=dict)
    """Contents of copied trees, kept for later checks."""
    _trees_size: int = 0
    _open_size: int = 0
    """Bytes of the open trees."""
    _earlier: int = 0
    """Number of objects copied before the current record."""

    def begin(self) -> None:
        """Start a new record: limits count from here."""
        self._earlier = len(self._fresh)

    @property
    def reader(self) -> IntakeReader:
        """A reader of copied and stored objects."""
        return IntakeReader(self)

    def digest(self, oid: Oid, kind: Kind) -> Digest | None:
        """Return the digest of a copied or stored object; None for others.

        Raises BadObject if it is not of this kind.
        """
        digest = self._entered.get(oid)
        if digest is None and self.writer.has(oid):
            digest = self._entered[oid] = self._stored_digest(oid, kind)
        if digest is not None and digest.kind != kind:
            raise BadObject(f"object {oid.hex()} is a {digest.kind}, not a {kind}")
        return digest

    def _stored_digest(self, oid: Oid, kind: Kind) -> Digest:
        readers = {
            "blob": self.digests.blob,
            "tree": self.digests.tree,
            "commit": self.digests.commit,
        }
        try:
            return readers[kind](oid)
        except (StoreError, RecursionError) as error:
            raise BadObject(f"cannot read stored object {oid.hex()}: {error}") from error

    def read_tree(self, oid: Oid) -> list[Entry]:
        """Return the entries of a copied or stored tree. Raises StoreError if it is missing."""
        if self.digest(oid, "tree") is None:
            raise StoreError(f"tree {oid.hex()} is missing")
        if oid not in self._fresh:
            return self.writer.tree(oid)
        content = self._trees.get(oid)
        return decode_tree(self._content(oid, "tree") if content is None else content)

    def read_blob(self, oid: Oid) -> bytes:
        """Return the content of a small blob. Raises BadObject for a large one."""
        if oid in self._fresh:
            # the writer keeps trees in memory, but not files
            return self._content(oid, "blob")
        digest = self.digest(oid, "blob")
        if digest is not None and digest.size > self.limits.record:
            raise BadObject(
                f"object {oid.hex()} has {digest.size} bytes, the limit is {self.limits.record}"
            )
        return self.writer.blob(oid)

    def commit(self, oid: Oid) -> Digest:
        """Copy a commit, its ancestors and everything below; return its digest.

        Raises BadObject.
        """
        pending, commits = [oid], dict[Oid, tuple[bytes, Commit]]()
        while pending:
            last = pending[-1]
            if self.digest(last, "commit") is not None:
                pending.pop()
                continue
            if last not in commits:
                content = self._content(last, "commit")
                commits[last] = content, checked_commit(content, last)
                if len(commits) > 2 * self.limits.commits:  # a run and its record
                    raise BadObject(
                        f"commit {oid.hex()} has a history of more than {self.limits.commits} runs"
                    )
            content, commit = commits[last]
            missing = [parent for parent in commit.parents if self.digest(parent, "commit") is None]
            if missing:
                pending += missing
                continue
            tree = self.tree(commit.tree)
            parents = [self._entered[parent].id for parent in commit.parents]
            digest = commit_digest(content, tree.id, parents)
            self._add(last, "commit", content, tree._replace(id=digest, kind="commit"))
            pending.pop()
        return self._entered[oid]

    def workdir(self, oid: Oid) -> Digest:
        """Copy a WORKDIR's commit and its ancestors; validate each WORKDIR and its record.

        Returns the commit's digest. Raises BadObject.
        """
        digest = self.commit(oid)
        while oid in self._fresh:
            commit = self.writer.commit(oid)
            before, *records = [*commit.parents] or [b""]
            attributes = self._check_record(records[0]) if records else None
            self.check_pair(Pair(commit.tree, attributes))
            oid = before
        return digest

    def _check_record(self, commit: Oid) -> Oid | None:
        """Validate a WORKDIR's record; return the tree of the WORKDIR's attributes, or None."""
        parts = self.parts(self.writer.commit(commit).tree)
        if b"output" in parts:
            self.check_output(parts[b"output"])
        sysroots = self.read_tree(parts[b"sysroot"]) if b"sysroot" in parts else []
        for sysroot in sysroots:
            if sysroot.mode == MODE_DIRECTORY:
                self.check_output(sysroot.oid)
        return parts.get(b"attributes")

    def parts(self, tree: Oid) -> dict[bytes, Oid]:
        """Return the parts of a record. Raises BadObject if a part has the wrong mode."""
        entries = self.read_tree(tree)
        for entry in entries:
            if entry.mode != _RECORD.get(entry.name, entry.mode):
                raise BadObject(
                    f"a record has an invalid entry {entry.name!r} with mode {entry.mode:o}"
                )
            if entry.mode == MODE_FILE:
                self._check_in_memory(entry)
        return {entry.name: entry.oid for entry in entries}

    def _check_in_memory(self, entry: Entry) -> None:
        """Raise BadObject if a file to read as a whole exceeds the record limit."""
        digest = self.digest(entry.oid, "blob")
        if digest is not None and digest.size > self.limits.record:
            raise BadObject(
                f"{entry.name!r} has {digest.size} bytes, the limit is {self.limits.record}"
            )

    def check_output(self, tree: Oid, dated: Oid | None = None) -> None:
        """Validate an output or a sysroot. Raises BadObject.

        `dated` are its attributes with mtimes, if the record has them.
        """
        parts = {}
        for entry in self.read_tree(tree):
            if entry.mode != _PAIR.get(entry.name):
                raise BadObject(
                    f"an output has an invalid entry {entry.name!r} with mode {entry.mode:o}"
                )
            if entry.mode == MODE_FILE:
                self._check_in_memory(entry)
            parts[entry.name] = entry.oid
        content = parts.get(b"content", EMPTY_TREE)
        self.check_pair(Pair(content, parts.get(b"attributes")))
        if dated is not None:
            self.check_pair(Pair(content, dated))

    def tree(self, oid: Oid, path: bytes = b"", depth: int = 0) -> Digest:
        """Copy a tree and everything below it; return its digest. Raises BadObject."""
        entered = self.digest(oid, "tree")
        if entered is not None:
            return entered
        if depth > self.limits.depth:
            raise BadObject(f"a tree has more than {self.limits.depth} nested folders")
        content = self._content(oid, "tree")
        self._open_size += len(content)
        if self._open_size > OPEN * self.limits.record:
            raise BadObject(f"the folders {path[:100]!r} and above have too many entries")
        entries = checked_entries(content, path, self.limits)
        digests = [self._entry(entry, path, depth) for entry in entries]
        digest = tree_digest(entries, digests)
        self._check_size(digest, path)
        self._add(oid, "tree", content, digest)
        self._open_size -= len(content)
        return digest

    def _check_size(self, tree: Digest, path: bytes) -> None:
        limits = self.limits
        if tree.paths > limits.paths or tree.size > limits.size:
            raise BadObject(
                f"{path!r} has {tree.paths} files with {tree.size} bytes,"
                f" the limit is {limits.paths} files and {limits.size} bytes"
            )
        if tree.depth > limits.depth or tree.length > limits.path:
            raise BadObject(
                f"{path!r} has {tree.depth} nested folders and paths of {tree.length} bytes,"
                f" the limit is {limits.depth} folders and {limits.path} bytes"
            )

    def _entry(self, entry: Entry, path: bytes, depth: int) -> Digest:
        below = path + b"/" + entry.name if path else entry.name
        if entry.mode == MODE_DIRECTORY:
            return self.tree(entry.oid, below, depth + 1)
        digest = self._blob(entry.oid)
        if entry.mode == MODE_SYMLINK:
            self._check_target(entry.oid, digest, below)
        return digest

    def _blob(self, oid: Oid) -> Digest:
        entered = self.digest(oid, "blob")
        if entered is not None:
            return entered
        blob = self._find(oid, "blob")
        if blob.size > self.limits.size:
            raise BadObject(
                f"object {oid.hex()} has {blob.size} bytes, the limit is {self.limits.size}"
            )
        copy = self._small_blob if blob.size <= STREAMED else self._large_blob
        digest = copy(oid, blob)
        self._enter(oid, digest)
        return digest

    def _small_blob(self, oid: Oid, blob: Content) -> Digest:
        content = joined(blob, oid)
        _check_id(oid, "blob", content)
        self.writer.add_blob(content)
        return Digest(object_digest("blob", content), 1, len(content))

    def _large_blob(self, oid: Oid, blob: Content) -> Digest:
        hasher = hashlib.sha256(b"blob %d\0" % blob.size)
        reader = BlobReader(blob, oid, hasher.update)
        if not self.writer.add_blob_stream(oid, blob.size, reader):
            raise BadObject(f"object {oid.hex()} does not match its id")
        return Digest(hasher.digest(), 1, blob.size)

    def _check_target(self, oid: Oid, digest: Digest, path: bytes) -> None:
        if not 0 < digest.size <= self.limits.path:
            raise BadObject(
                f"the symlink {path!r} has a target of {digest.size} bytes,"
                f" expected 1 to {self.limits.path}"
            )
        if b"\0" in self.read_blob(oid):
            raise BadObject(f"the target of the symlink {path!r} contains a NUL byte")

    def _find(self, oid: Oid, kind: Kind) -> Content:
        try:
            content = self.source(oid)
        except StoreError as error:
            raise BadObject(f"cannot read object {oid.hex()}: {error}") from error
        if content is None:
            raise BadObject(f"object {oid.hex()} is missing")
        if content.kind != kind:
            raise BadObject(f"object {oid.hex()} is a {content.kind}, not a {kind}")
        return content

    def _content(self, oid: Oid, kind: Kind) -> bytes:
        """Return an object's whole content. Raises BadObject if it exceeds the record limit."""
        content = self._find(oid, kind)
        if content.size > self.limits.record:
            raise BadObject(
                f"the {kind} {oid.hex()} has {content.size} bytes,"
                f" the limit is {self.limits.record}"
            )
        data = joined(content, oid)
        _check_id(oid, kind, data)
        return data

    def _add(self, oid: Oid, kind: Kind, content: bytes, digest: Digest) -> None:
        self.writer.add(kind, content, keep=kind == "commit")
        if kind == "tree" and self._trees_size + len(content) <= KEPT:
            self._trees[oid] = content
            self._trees_size += len(content)
        self._enter(oid, digest)

    def _enter(self, oid: Oid, digest: Digest) -> None:
        self._entered[oid] = digest
        self._fresh.add(oid)
        if len(self._fresh) - self._earlier > self.limits.paths:
            raise BadObject(f"the record has more than {self.limits.paths} objects")

    def learn(self) -> None:
        """Cache the digests of all copied objects, which are in the store now."""
        for oid, digest in self._entered.items():
            if oid != EMPTY_TREE and self.digests.known(oid) is None:
                self.digests.learn(oid, digest)
        self.digests.save()

    def check_pair(self, pair: Pair) -> None:
        """Validate a recorded directory. Raises BadObject.

        Each pair of trees is validated once: a few trees can describe more folders than could be
        read in years.
        """
        pending = [(pair, b"")]
        while pending:
            folder, path = pending.pop()
            if folder in self._checked_pairs:
                continue
            self._checked_pairs.add(folder)
            try:
                listing = read_listing(self.reader, folder)
            except StoreError as error:
                raise BadObject(str(error)) from error
            check_listing(folder, listing, path, self.limits)
            pending += [
                (node.pair, path + name + b"/")
                for name, node in listing.items()
                if node.is_directory and name != b"."
            ]


@dataclass(frozen=True, slots=True)
class IntakeReader:
    """Reads copied and stored objects as from one store."""

    intake: Intake

    def tree(self, oid: Oid) -> list[Entry]:
        return self.intake.read_tree(oid)

    def commit(self, oid: Oid) -> Commit:
        return self.intake.writer.commit(oid)

    def blob(self, oid: Oid) -> bytes:
        return self.intake.read_blob(oid)


def _check_id(oid: Oid, kind: Kind, content: bytes) -> None:
    if object_id(kind, content) != oid:
        raise BadObject(f"object {oid.hex()} does not match its id")
