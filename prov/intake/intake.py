"""Taking objects in from elsewhere: every one is looked at before it is in the store, and nothing
is in it before all are.

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
"""Bytes of trees that are kept in memory to be looked at once more; others are read from the source
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
    _done: dict[Oid, Digest] = field(default_factory=dict)
    _fresh: set[Oid] = field(default_factory=set)
    """Objects that were not here."""
    _looked: set[Pair] = field(default_factory=set)
    _kept: dict[Oid, bytes] = field(default_factory=dict)
    _kept_size: int = 0
    _open: int = 0
    """Bytes of the trees that are open."""
    _begun: int = 0
    """Objects that had come when the record began that is taken in now."""

    def begin(self) -> None:
        """Begin a record: limits are counted from here."""
        self._begun = len(self._fresh)

    @property
    def reader(self) -> _Reader:
        """What was taken in, and what is in the store."""
        return _Reader(self)

    def _here(self, oid: Oid, kind: Kind) -> Digest | None:
        """Return the digest of what was taken in or is in the store.

        Raises BadObject if it is of another kind.
        """
        found = self._done.get(oid)
        if found is None and self.writer.has(oid):
            read = {
                "blob": self.digests.blob,
                "tree": self.digests.tree,
                "commit": self.digests.commit,
            }[kind]
            try:
                found = self._done[oid] = read(oid)
            except (StoreError, RecursionError) as error:
                raise BadObject(f"object {oid.hex()}, which is here: {error}") from error
        if found is not None and found.kind != kind:
            raise BadObject(
                f"object {oid.hex()} is a {found.kind}, not the {kind} that it should be"
            )
        return found

    def commit(self, oid: Oid) -> Digest:
        """Take in a commit and all that it holds; return its digest. Raises BadObject."""
        pending, known = [oid], dict[Oid, tuple[bytes, Commit]]()
        while pending:
            each = pending[-1]
            if self._here(each, "commit") is not None:
                pending.pop()
                continue
            if each not in known:
                content = self._content(each, "commit")
                known[each] = content, checked_commit(content, each)
                if len(known) > 2 * self.limits.commits:  # a run and its record
                    raise BadObject(f"commit {oid.hex()} has too long a history")
            content, commit = known[each]
            missing = [parent for parent in commit.parents if self._here(parent, "commit") is None]
            if missing:
                pending += missing
                continue
            tree = self.tree(commit.tree)
            parents = [self._done[parent].id for parent in commit.parents]
            digest = commit_digest(content, tree.id, parents)
            self._add(each, "commit", content, tree._replace(id=digest, kind="commit"))
            pending.pop()
        return self._done[oid]

    def workdir(self, oid: Oid) -> Digest:
        """Take in a WORKDIR's commit, and look at it and at those before it as they would be put on
        disk.
        """
        digest = self.commit(oid)
        while oid in self._fresh:
            commit = self.writer.commit(oid)
            attributes = (
                self._look_at_record(commit.parents[1]) if len(commit.parents) > 1 else None
            )
            self.check_pair(Pair(commit.tree, attributes))
            oid = commit.parents[0] if commit.parents else b""
        return digest

    def _look_at_record(self, commit: Oid) -> Oid | None:
        """Look at a record that goes with a WORKDIR; return the tree of the WORKDIR's
        attributes.
        """
        parts = self.parts(self.writer.commit(commit).tree)
        if b"output" in parts:
            self.check_output(parts[b"output"])
        for each in self.reader.tree(parts[b"sysroot"]) if b"sysroot" in parts else ():
            self.check_output(each.oid) if each.mode == MODE_DIRECTORY else None
        return parts.get(b"attributes")

    def parts(self, tree: Oid) -> dict[bytes, Oid]:
        """Return the parts of a record. Raises BadObject if one is not of its kind."""
        entries = self.reader.tree(tree)
        for each in entries:
            if each.mode != _RECORD.get(each.name, each.mode):
                raise BadObject(f"{each.name!r} of a record has the mode {each.mode:o}")
            if each.mode == MODE_FILE:
                self._check_in_memory(each)
        return {each.name: each.oid for each in entries}

    def _check_in_memory(self, entry: Entry) -> None:
        """Raise BadObject for a file that is read as a whole later on, and is too large for
        that.
        """
        digest = self._here(entry.oid, "blob")
        if digest is not None and digest.size > self.limits.record:
            raise BadObject(
                f"{entry.name!r} has {digest.size} bytes, and {self.limits.record} are allowed"
            )

    def check_output(self, tree: Oid, dated: Oid | None = None) -> None:
        """Look at an output, or a sysroot, as it would be put on disk. Raises BadObject.

        `dated`: its attributes with mtimes, where a record has them.
        """
        parts = {}
        for each in self.reader.tree(tree):
            if each.mode != _PAIR.get(each.name):
                raise BadObject(f"an output has {each.name!r} with the mode {each.mode:o}")
            if each.mode == MODE_FILE:
                self._check_in_memory(each)
            parts[each.name] = each.oid
        content = parts.get(b"content", EMPTY_TREE)
        self.check_pair(Pair(content, parts.get(b"attributes")))
        if dated is not None:
            self.check_pair(Pair(content, dated))

    def tree(self, oid: Oid, path: bytes = b"", depth: int = 0) -> Digest:
        """Take in a tree and all that it holds; return its digest. Raises BadObject."""
        done = self._here(oid, "tree")
        if done is not None:
            return done
        if depth > self.limits.depth:
            raise BadObject(f"a tree has more than {self.limits.depth} folders below one another")
        content = self._content(oid, "tree")
        self._open += len(content)
        if self._open > OPEN * self.limits.record:
            raise BadObject(f"the folders {path[:100]!r} and above have too many entries")
        entries = checked_entries(content, path, self.limits)
        below = [self._entry(each, path, depth) for each in entries]
        found = tree_digest(entries, below)
        self._check_size(found, path)
        self._add(oid, "tree", content, found)
        self._open -= len(content)
        return found

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
        done = self._here(oid, "blob")
        if done is None:
            found = self._find(oid, "blob")
            if found.size > self.limits.size:
                raise BadObject(
                    f"object {oid.hex()} has {found.size} bytes, and {self.limits.size} are allowed"
                )
            done = (
                self._small_blob(oid, found)
                if found.size <= STREAMED
                else self._large_blob(oid, found)
            )
            self._enter(oid, done)
        return done

    def _small_blob(self, oid: Oid, found: Content) -> Digest:
        content = joined(found, oid)
        _check_id(oid, "blob", content)
        self.writer.add_blob(content)
        return Digest(object_digest("blob", content), 1, len(content))

    def _large_blob(self, oid: Oid, found: Content) -> Digest:
        digest = hashlib.sha256(b"blob %d\0" % found.size)
        reader = BlobReader(found, oid, digest.update)
        if not self.writer.add_blob_stream(oid, found.size, reader):
            raise BadObject(f"object {oid.hex()} is not the blob that it should be")
        return Digest(digest.digest(), 1, found.size)

    def _check_target(self, oid: Oid, digest: Digest, path: bytes) -> None:
        if not 0 < digest.size <= self.limits.path:
            raise BadObject(f"{path!r} is a symlink to {digest.size} bytes")
        if b"\0" in self.reader.blob(oid):
            raise BadObject(f"{path!r} is a symlink to what is no path")

    def _find(self, oid: Oid, wanted: Kind) -> Content:
        try:
            found = self.source(oid)
        except StoreError as error:
            raise BadObject(f"object {oid.hex()} can't be read: {error}") from error
        if found is None:
            raise BadObject(f"object {oid.hex()} is missing")
        if found.kind != wanted:
            raise BadObject(f"object {oid.hex()} is not the {wanted} that it should be")
        return found

    def _content(self, oid: Oid, wanted: Kind) -> bytes:
        """Return the content of an object that is held in memory as a whole.

        Raises BadObject for a large one.
        """
        found = self._find(oid, wanted)
        if found.size > self.limits.record:
            raise BadObject(
                f"the {wanted} {oid.hex()} has {found.size} bytes, and {self.limits.record} are"
                " allowed"
            )
        content = joined(found, oid)
        _check_id(oid, wanted, content)
        return content

    def _add(self, oid: Oid, kind: Kind, content: bytes, digest: Digest) -> None:
        self.writer.add(kind, content, keep=kind == "commit")
        if kind == "tree" and self._kept_size + len(content) <= KEPT:
            self._kept[oid] = content
            self._kept_size += len(content)
        self._enter(oid, digest)

    def _enter(self, oid: Oid, digest: Digest) -> None:
        self._done[oid] = digest
        self._fresh.add(oid)
        if len(self._fresh) - self._begun > self.limits.paths:
            raise BadObject(f"it has more than {self.limits.paths} objects")

    def learn(self) -> None:
        """Remember the digests of what is in the store by now."""
        for oid, digest in self._done.items():
            if oid != EMPTY_TREE and self.digests.known(oid) is None:
                self.digests.learn(oid, digest)
        self.digests.save()

    def check_pair(self, pair: Pair) -> None:
        """Look at a recorded directory as it would be put on disk. Raises BadObject.

        What is there many times is looked at once: a few trees may be more folders than anybody
        could look at.
        """
        pending = [(pair, b"")]
        while pending:
            each, path = pending.pop()
            if each in self._looked:
                continue
            self._looked.add(each)
            try:
                listing = read_listing(self.reader, each)
            except StoreError as error:
                raise BadObject(str(error)) from error
            check_listing(each, listing, path, self.limits)
            pending += [
                (node.pair, path + name + b"/")
                for name, node in listing.items()
                if node.is_directory and name != b"."
            ]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A writer keeps trees at hand and not files, of which there may be a great deal."""

    intake: Intake

    def tree(self, oid: Oid) -> list[Entry]:
        if self.intake._here(oid, "tree") is None:
            raise StoreError(f"tree {oid.hex()} is missing")
        if oid not in self.intake._fresh:
            return self.intake.writer.tree(oid)
        content = self.intake._kept.get(oid)
        return decode_tree(self.intake._content(oid, "tree") if content is None else content)

    def commit(self, oid: Oid) -> Commit:
        return self.intake.writer.commit(oid)

    def blob(self, oid: Oid) -> bytes:
        if oid in self.intake._fresh:
            return self.intake._content(oid, "blob")
        digest = self.intake._here(oid, "blob")
        if digest is not None and digest.size > self.intake.limits.record:
            raise BadObject(f"object {oid.hex()} has {digest.size} bytes")
        return self.intake.writer.blob(oid)


def _check_id(oid: Oid, kind: Kind, content: bytes) -> None:
    if object_id(kind, content) != oid:
        raise BadObject(f"object {oid.hex()} is not the {kind} that it should be")
