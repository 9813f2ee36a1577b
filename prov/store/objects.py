"""Git objects as values: ids, tree entries and commits; escaping of names git cannot store.

An object id is its 20 raw bytes; in text it is the usual 40 hex digits. Names are bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Oid: TypeAlias = bytes
Kind = Literal["commit", "tree", "blob", "tag"]

MODE_DIRECTORY = 0o040000
MODE_FILE = 0o100644
MODE_EXECUTABLE = 0o100755
MODE_SYMLINK = 0o120000


class Entry(NamedTuple):
    """One line of a git tree; `name` is in git's form, that is, escaped."""

    name: bytes
    mode: int
    oid: Oid


def object_id(kind: Kind, data: bytes) -> Oid:
    """Return git's id for an object of this kind with this content."""
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(data), data)).digest()


def encode_tree(entries: list[Entry]) -> bytes:
    """Return a tree's content, in git's order: a directory sorts as if its name ended in `/`."""
    ordered = sorted(
        entries, key=lambda entry: entry[0] + b"/" if entry[1] == MODE_DIRECTORY else entry[0]
    )
    return b"".join([b"%o %s\0%s" % (mode, name, oid) for name, mode, oid in ordered])


_MODES = {b"%o" % mode: mode for mode in (MODE_DIRECTORY, MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK)}


_OCTAL = re.compile(rb"[0-7]{1,7}")


def decode_tree(data: bytes) -> list[Entry]:
    """Return the entries of a tree's content, in git's order.

    Raises ValueError for an invalid tree.
    """
    entries: list[Entry] = []
    # For speed, bind the methods once and build the tuple without its constructor: a sysroot's
    # trees have tens of thousands of entries.
    add, find, new, modes, size = entries.append, data.index, tuple.__new__, _MODES, len(data)
    at = 0
    while at < size:
        space = find(b" ", at)
        end = find(b"\0", space)
        mode = data[at:space]
        add(
            new(
                Entry,
                (
                    data[space + 1 : end],
                    modes.get(mode) or _odd_mode(mode),
                    data[end + 1 : end + 21],
                ),
            )
        )
        at = end + 21
    if at > size:
        raise ValueError("the last id is truncated")
    return entries


def _odd_mode(text: bytes) -> int:
    """Parse a mode that prov does not write.

    Raises ValueError for an invalid mode; int() alone would accept more.
    """
    if not _OCTAL.fullmatch(text):
        raise ValueError(f"invalid mode {text[:20]!r}")
    return int(text, 8)


EMPTY_TREE: Oid = object_id("tree", b"")


@dataclass(frozen=True, slots=True)
class Identity:
    """An author and a time: name, mail address, and seconds since the epoch, in UTC."""

    name: str
    mail: str
    seconds: int

    def encode(self) -> bytes:
        return f"{self.name} <{self.mail}> {self.seconds} +0000".encode()


CONSTANT_IDENTITY = Identity("prov", "prov@localhost", 0)
"""The author of commits whose id must be the same everywhere."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit's content."""

    tree: Oid
    parents: tuple[Oid, ...]
    author: Identity
    message: str

    def encode(self) -> bytes:
        lines = [b"tree " + self.tree.hex().encode()]
        lines += [b"parent " + parent.hex().encode() for parent in self.parents]
        lines += [b"author " + self.author.encode(), b"committer " + self.author.encode()]
        return b"\n".join(lines) + b"\n\n" + self.message.encode()


def decode_commit(data: bytes) -> Commit:
    """Return a commit from its content, ignoring headers that prov does not use.

    Raises ValueError for a malformed commit.
    """
    head, _, message = data.partition(b"\n\n")
    tree, parents, author = EMPTY_TREE, [], CONSTANT_IDENTITY
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"tree":
            tree = _decode_oid(value)
        elif key == b"parent":
            parents.append(_decode_oid(value))
        elif key == b"author":
            author_text, seconds, _zone = value.rsplit(b" ", 2)
            name, _, mail = author_text.partition(b" <")
            author = Identity(
                name.decode("utf-8", "replace"),
                mail.rstrip(b">").decode("utf-8", "replace"),
                int(seconds),
            )
    return Commit(tree, tuple(parents), author, message.decode("utf-8", "replace"))


def _decode_oid(text: bytes) -> Oid:
    oid = bytes.fromhex(text.decode("ascii"))
    if len(oid) != 20 or len(text) != 40:
        raise ValueError(f"invalid object id {text[:50]!r}")
    return oid


# Code points that HFS+ ignores in a name: git treats `.g\u200cit` as `.git` (git's utf8.c:
# next_hfs_char).
_IGNORED_BY_HFS = re.compile(rb"\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf")
# NTFS short names of `.git`, `.gitmodules`, `.gitattributes`, … (git's path.c:
# is_ntfs_dot_generic). The longer the number after the tilde, the shorter the part before it:
# `gi7eba~1` … `g~100000`, `~1000000`.
_SPECIAL = re.compile(
    rb"\.git|\.mailmap|(git|gi[0-9a-f]{4}|mailma|maba30)[^~]*~|(gi?[0-9a-f]{0,3}|ma?b?a?3?)?~[1-9]",
    re.IGNORECASE,
)
ESCAPE = b"%"


def escape_name(name: bytes) -> bytes:
    """Return the name under which git can store a directory entry.

    Git rejects some names or gives them a special meaning: `.git`, `.gitmodules`, … and equivalents
    on HFS+ and NTFS. These names are prefixed with `%`, as are names that already start with `%`,
    so `unescape_name` is exact. NTFS treats a backslash as a path separator, so each backslash in
    an escaped name is followed by another `%`.
    """
    if name[:1] == ESCAPE:
        return _escaped(name)
    first = name[:1]
    if first not in b".gGmM~\xe2\xef" and b"\\" not in name:
        return name
    plain = _IGNORED_BY_HFS.sub(b"", name)
    if any(_SPECIAL.match(part) for part in plain.split(b"\\")):
        return _escaped(name)
    return name


def _escaped(name: bytes) -> bytes:
    return ESCAPE + name.replace(b"\\", b"\\%")


def unescape_name(name: bytes) -> bytes:
    """Return the original name for a result of `escape_name`."""
    return name[1:].replace(b"\\%", b"\\") if name[:1] == ESCAPE else name
