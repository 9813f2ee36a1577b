"""Taking objects in from elsewhere: every one is looked at before it is in the store, and nothing is in it before all
are.

A remote may hold anything. Git's format lets a tree have two entries of one name, a name that leads out of its
directory or means `.git` to some file system, a mode that stands for something else, a million folders below one
another, or, by naming one tree many times, more files than any disk holds. None of that comes in.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from prov.errors import ProvError, StoreError
from prov.remote.digest import Digest, Digests, commit_digest, object_digest, tree_digest
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Entry,
    Kind,
    Oid,
    decode_commit,
    decode_tree,
    encode_tree,
    escape_name,
    object_id,
    unescape_name,
)
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import BLOB_NAME, Pair, read_listing

Source = Callable[[Oid], "tuple[Kind, bytes] | None"]
"""Gives an object's kind and content, None if it has it not."""

_MODES = (MODE_DIRECTORY, MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK)
_SPECIAL = (stat.S_IFCHR, stat.S_IFBLK)


class BadObject(Exception):
    """Something that can't be taken in; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large what comes from elsewhere may be, when it is put on disk."""

    paths: int = 5_000_000
    size: int = 1 << 40
    depth: int = 256
    name: int = 255
    path: int = 4095
    commits: int = 1_000
    """In the history of one WORKDIR."""
    devices: bool = False
    """Device nodes are allowed."""


@dataclass(slots=True)
class Intake:
    """Copies what is asked for, and all that it holds, into a writer."""

    source: Source
    writer: ObjectWriter
    digests: Digests
    limits: Limits = field(default_factory=Limits)
    taken: int = 0
    """Objects that were not here."""
    _done: dict[Oid, Digest] = field(default_factory=dict)

    @property
    def reader(self) -> _Reader:
        """What was taken in, and what is in the store."""
        return _Reader(self)

    def commit(self, oid: Oid) -> Digest:
        """Take in a commit and all that it holds; return its digest. Raises BadObject."""
        pending, number = [oid], 0
        while pending:
            each = pending[-1]
            if self._commit_digest(each) is not None:
                pending.pop()
                continue
            number += 1
            if number > 4 * self.limits.commits:
                raise BadObject(f"commit {oid.hex()} has too long a history")
            content = self._content(each, "commit")
            commit = decode_commit(content)
            missing = [parent for parent in commit.parents if self._commit_digest(parent) is None]
            if missing:
                if set(missing) & set(pending):
                    raise BadObject(f"commit {each.hex()} descends from itself")
                pending += missing
                continue
            tree = self.tree(commit.tree)
            parents = [self._done[parent].id for parent in commit.parents]
            self._add(each, "commit", content)
            self._done[each] = tree._replace(id=commit_digest(content, tree.id, parents))
            pending.pop()
        return self._done[oid]

    def _commit_digest(self, oid: Oid) -> Digest | None:
        if oid not in self._done and self.writer.has(oid):
            self._done[oid] = self.digests.commit(oid)
        return self._done.get(oid)

    def tree(self, oid: Oid, path: bytes = b"", depth: int = 0) -> Digest:
        """Take in a tree and all that it holds; return its digest. Raises BadObject."""
        done = self._done.get(oid)
        if done is not None:
            return done
        if self.writer.has(oid):
            done = self._done[oid] = self.digests.tree(oid)
            return done
        if depth > self.limits.depth:
            raise BadObject(f"a tree has more than {self.limits.depth} folders below one another")
        content = self._content(oid, "tree")
        entries = checked_entries(content, path, self.limits)
        below = [self._entry(each, path, depth) for each in entries]
        found = tree_digest(entries, below)
        self._check_size(found, path)
        self._add(oid, "tree", content)
        self._done[oid] = found
        return found

    def _check_size(self, tree: Digest, path: bytes) -> None:
        limits = self.limits
        if tree.paths > limits.paths or tree.size > limits.size:
            raise BadObject(f"{path!r} would be {tree.paths} files of {tree.size} bytes: more than is let in")
        if tree.depth > limits.depth or tree.length > limits.path:
            raise BadObject(f"{path!r} has too deep folders or too long paths: {tree.depth}, {tree.length} bytes")

    def _entry(self, entry: Entry, path: bytes, depth: int) -> Digest:
        below = path + b"/" + entry.name if path else entry.name
        if entry.mode == MODE_DIRECTORY:
            return self.tree(entry.oid, below, depth + 1)
        digest = self._blob(entry.oid)
        if entry.mode == MODE_SYMLINK:
            self._check_target(entry.oid, digest, below)
        return digest

    def _blob(self, oid: Oid) -> Digest:
        done = self._done.get(oid)
        if done is None:
            if self.writer.has(oid):
                done = self.digests.blob(oid)
            else:
                content = self._content(oid, "blob")
                done = Digest(object_digest("blob", content), 1, len(content))
                self.writer.add_blob(content)
                self.taken += 1
            self._done[oid] = done
        return done

    def _check_target(self, oid: Oid, digest: Digest, path: bytes) -> None:
        if not 0 < digest.size <= self.limits.path:
            raise BadObject(f"{path!r} is a symlink to {digest.size} bytes")
        if b"\0" in self.reader.blob(oid):
            raise BadObject(f"{path!r} is a symlink to what is no path")

    def _content(self, oid: Oid, wanted: Kind) -> bytes:
        try:
            found = self.source(oid)
        except ProvError as error:
            raise BadObject(str(error)) from error
        if found is None:
            raise BadObject(f"object {oid.hex()} is missing")
        kind, content = found
        if kind != wanted or object_id(kind, content) != oid:
            raise BadObject(f"object {oid.hex()} is not the {wanted} that it should be")
        return content

    def _add(self, oid: Oid, kind: Kind, content: bytes) -> None:
        self.writer.add(kind, content)
        self.taken += 1

    def learn(self) -> None:
        """Remember the digests of what is in the store by now."""
        for oid, digest in self._done.items():
            if oid != EMPTY_TREE and self.digests.known(oid) is None:
                self.digests.learn(oid, digest)
        self.digests.save()

    def check_pair(self, pair: Pair) -> None:
        """Look at a recorded directory as it would be put on disk. Raises BadObject."""
        pending = [(pair, b"")]
        while pending:
            each, path = pending.pop()
            try:
                listing = read_listing(self.reader, each)
            except StoreError as error:
                raise BadObject(str(error)) from error
            for name, node in listing.items():
                below = path + name
                check_real_name(name, below, self.limits) if name != b"." else None
                if stat.S_IFMT(node.mode) in _SPECIAL and not self.limits.devices:
                    raise BadObject(f"{below!r} is a device node")
                odd = [key for key, _ in node.xattrs if not key.startswith(b"user.")]
                if odd and not self.limits.devices:
                    raise BadObject(f"{below!r} has the extended attribute {odd[0]!r}")
                if node.link and not _inside(node.link):
                    raise BadObject(f"{below!r} is linked to {node.link!r}, which is outside")
                if node.is_directory and name != b".":
                    pending.append((node.pair, below + b"/"))


@dataclass(frozen=True, slots=True)
class _Reader:
    """A writer keeps trees at hand and not files, of which there may be a great deal."""

    intake: Intake

    def tree(self, oid: Oid) -> list[Entry]:
        return self.intake.writer.tree(oid)

    def blob(self, oid: Oid) -> bytes:
        found = self.intake.source(oid)
        return found[1] if found is not None and found[0] == "blob" else self.intake.writer.blob(oid)


def checked_entries(content: bytes, path: bytes, limits: Limits) -> list[Entry]:
    """Return a tree's entries if it is one that prov, or git, could have made. Raises BadObject."""
    try:
        entries = decode_tree(content)
    except (ValueError, IndexError) as error:
        raise BadObject(f"the tree at {path!r} is damaged") from error
    names = [each.name for each in entries]
    if encode_tree(entries) != content or len(set(names)) != len(names):
        raise BadObject(f"the tree at {path!r} is not as git writes trees")
    for each in entries:
        below = path + b"/" + each.name if path else each.name
        if each.mode not in _MODES or len(each.oid) != 20:
            raise BadObject(f"{below!r} has the mode {each.mode:o}")
        if each.name == BLOB_NAME and each.mode == MODE_FILE:
            continue
        real = unescape_name(each.name)
        check_real_name(real, below, limits)
        if escape_name(real) != each.name:
            raise BadObject(f"{below!r} is a name that git, or some file system, takes for another")
    return entries


def check_real_name(name: bytes, path: bytes, limits: Limits) -> None:
    """Raise BadObject for a name that no file in a directory can have, or a path that is too long."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > limits.name:
        raise BadObject(f"{path[:300]!r} has a name that no file can have")
    if len(path) > limits.path:
        raise BadObject(f"{path[:100]!r}… is too long a path")


def _inside(link: bytes) -> bool:
    return not link.startswith(b"/") and not any(part in (b"", b".", b"..") for part in link.split(b"/"))
