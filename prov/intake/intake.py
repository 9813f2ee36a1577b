"""Taking objects in from elsewhere: none is in the store before all were looked at.

A remote may hold anything. Git's format lets a tree have two entries of one name, a name that leads
out of its directory or means `.git` to some file system, a mode that stands for something else, a
million folders below one another, or, by naming one tree many times, more files than any disk
holds. None of that comes in.
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
"""Bytes. Larger files are never in memory as a whole."""
KEPT = 64 << 20
"""Bytes of trees that stay in memory to be looked at once more; others are read from the source
again.
"""
OPEN = 4
"""So many trees of the largest size may be open, each inside the other."""

_RECORD = {
    **dict.fromkeys((b"inputs", b"output", b"dated", b"attributes", b"sysroot"), MODE_DIRECTORY),
    **dict.fromkeys((b"record", b"definition", b"log", b"environment"), MODE_FILE),
}
"""What a record has, and what of it is a folder."""
_PAIR = {
    **dict.fromkeys((b"content", b"attributes"), MODE_DIRECTORY),
    **dict.fromkeys((b"postprocess", b"fixed"), MODE_FILE),
}


@dataclass(slots=True)
class Intake:
    """Copies what is asked for, and all that it holds, into a writer."""

    source: Source
    writer: ObjectWriter
    digests: Digests
    limits: Limits = field(default_factory=Limits)
    _entered: dict[Oid, Digest] = field(default_factory=dict)
    """Digests of what was taken in, and of what of the store was asked for."""
    _fresh: set[Oid] = field(default_factory=set)
    """Objects that were not in the store."""
    _checked_pairs: set[Pair] = field(default_factory=set)
    _trees: dict[Oid, bytes] = field(default_factory=dict)
    """Contents of trees that were taken in, to be looked at once more."""
    _trees_size: int = 0
    _open_size: int = 0
    """Bytes of the trees that are open."""
    _earlier: int = 0
    """Objects that had come when the record began that is taken in now."""

    def begin(self) -> None:
        """Begin a record: limits are counted from here."""
        self._earlier = len(self._fresh)

    @property
    def reader(self) -> IntakeReader:
        """What was taken in, and what is in the store."""
        return IntakeReader(self)

    def digest(self, oid: Oid, kind: Kind) -> Digest | None:
        """Return the digest of an object that was taken in or is in the store; None for others.

        Raises BadObject if it is of another kind.
        """
        digest = self._entered.get(oid)
        if digest is None and self.writer.has(oid):
            digest = self._entered[oid] = self._stored_digest(oid, kind)
        if digest is not None and digest.kind != kind:
            raise BadObject(
                f"object {oid.hex()} is a {digest.kind}, not the {kind} that it should be"
            )
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
            raise BadObject(f"object {oid.hex()}, which is here: {error}") from error

    def read_tree(self, oid: Oid) -> list[Entry]:
        """Return the entries of a tree that was taken in or is in the store."""
        if self.digest(oid, "tree") is None:
            raise StoreError(f"tree {oid.hex()} is missing")
        if oid not in self._fresh:
            return self.writer.tree(oid)
        content = self._trees.get(oid)
        return decode_tree(self._content(oid, "tree") if content is None else content)

    def read_blob(self, oid: Oid) -> bytes:
        """Return the content of a small blob. Raises BadObject for a large one."""
        if oid in self._fresh:
            # a writer keeps trees at hand and not files, of which there may be a great deal
            return self._content(oid, "blob")
        digest = self.digest(oid, "blob")
        if digest is not None and digest.size > self.limits.record:
            raise BadObject(f"object {oid.hex()} has {digest.size} bytes")
        return self.writer.blob(oid)

    def commit(self, oid: Oid) -> Digest:
        """Take in a commit and all that it holds; return its digest. Raises BadObject."""
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
                    raise BadObject(f"commit {oid.hex()} has too long a history")
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
        """Take in a WORKDIR's commit, and look at it and at those before it as they would be put on
        disk.
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
        """Look at a record that goes with a WORKDIR; return the tree of the WORKDIR's
        attributes.
        """
        parts = self.parts(self.writer.commit(commit).tree)
        if b"output" in parts:
            self.check_output(parts[b"output"])
        sysroots = self.read_tree(parts[b"sysroot"]) if b"sysroot" in parts else []
        for sysroot in sysroots:
            if sysroot.mode == MODE_DIRECTORY:
                self.check_output(sysroot.oid)
        return parts.get(b"attributes")

    def parts(self, tree: Oid) -> dict[bytes, Oid]:
        """Return the parts of a record. Raises BadObject if one is not of its kind."""
        entries = self.read_tree(tree)
        for entry in entries:
            if entry.mode != _RECORD.get(entry.name, entry.mode):
                raise BadObject(f"{entry.name!r} of a record has the mode {entry.mode:o}")
            if entry.mode == MODE_FILE:
                self._check_in_memory(entry)
        return {entry.name: entry.oid for entry in entries}

    def _check_in_memory(self, entry: Entry) -> None:
        """Raise BadObject for a file that is read as a whole later on, and is too large for
        that.
        """
        digest = self.digest(entry.oid, "blob")
        if digest is not None and digest.size > self.limits.record:
            raise BadObject(
                f"{entry.name!r} has {digest.size} bytes, and {self.limits.record} are allowed"
            )

    def check_output(self, tree: Oid, dated: Oid | None = None) -> None:
        """Look at an output, or a sysroot, as it would be put on disk. Raises BadObject.

        `dated`: its attributes with mtimes, where a record has them.
        """
        parts = {}
        for entry in self.read_tree(tree):
            if entry.mode != _PAIR.get(entry.name):
                raise BadObject(f"an output has {entry.name!r} with the mode {entry.mode:o}")
            if entry.mode == MODE_FILE:
                self._check_in_memory(entry)
            parts[entry.name] = entry.oid
        content = parts.get(b"content", EMPTY_TREE)
        self.check_pair(Pair(content, parts.get(b"attributes")))
        if dated is not None:
            self.check_pair(Pair(content, dated))

    def tree(self, oid: Oid, path: bytes = b"", depth: int = 0) -> Digest:
        """Take in a tree and all that it holds; return its digest. Raises BadObject."""
        entered = self.digest(oid, "tree")
        if entered is not None:
            return entered
        if depth > self.limits.depth:
            raise BadObject(f"a tree has more than {self.limits.depth} folders below one another")
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
                f"{path!r} would be {tree.paths} files of {tree.size} bytes: more than is let in"
            )
        if tree.depth > limits.depth or tree.length > limits.path:
            raise BadObject(
                f"{path!r} has too deep folders or too long paths: {tree.depth}, {tree.length}"
                " bytes"
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
                f"object {oid.hex()} has {blob.size} bytes, and {self.limits.size} are allowed"
            )
        take = self._small_blob if blob.size <= STREAMED else self._large_blob
        digest = take(oid, blob)
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
            raise BadObject(f"object {oid.hex()} is not the blob that it should be")
        return Digest(hasher.digest(), 1, blob.size)

    def _check_target(self, oid: Oid, digest: Digest, path: bytes) -> None:
        if not 0 < digest.size <= self.limits.path:
            raise BadObject(f"{path!r} is a symlink to {digest.size} bytes")
        if b"\0" in self.read_blob(oid):
            raise BadObject(f"{path!r} is a symlink to what is no path")

    def _find(self, oid: Oid, kind: Kind) -> Content:
        try:
            content = self.source(oid)
        except StoreError as error:
            raise BadObject(f"object {oid.hex()} can't be read: {error}") from error
        if content is None:
            raise BadObject(f"object {oid.hex()} is missing")
        if content.kind != kind:
            raise BadObject(f"object {oid.hex()} is not the {kind} that it should be")
        return content

    def _content(self, oid: Oid, kind: Kind) -> bytes:
        """Return the content of an object that is held in memory as a whole.

        Raises BadObject for a large one.
        """
        content = self._find(oid, kind)
        if content.size > self.limits.record:
            raise BadObject(
                f"the {kind} {oid.hex()} has {content.size} bytes, and {self.limits.record} are"
                " allowed"
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
            raise BadObject(f"it has more than {self.limits.paths} objects")

    def learn(self) -> None:
        """Remember the digests of what is in the store by now."""
        for oid, digest in self._entered.items():
            if oid != EMPTY_TREE and self.digests.known(oid) is None:
                self.digests.learn(oid, digest)
        self.digests.save()

    def check_pair(self, pair: Pair) -> None:
        """Look at a recorded directory as it would be put on disk. Raises BadObject.

        What occurs many times is looked at once: a few trees may stand for more folders than could
        be read in years.
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
    """Reads what was taken in, and what is in the store, as from one store."""

    intake: Intake

    def tree(self, oid: Oid) -> list[Entry]:
        return self.intake.read_tree(oid)

    def commit(self, oid: Oid) -> Commit:
        return self.intake.writer.commit(oid)

    def blob(self, oid: Oid) -> bytes:
        return self.intake.read_blob(oid)


def _check_id(oid: Oid, kind: Kind, content: bytes) -> None:
    if object_id(kind, content) != oid:
        raise BadObject(f"object {oid.hex()} is not the {kind} that it should be")
