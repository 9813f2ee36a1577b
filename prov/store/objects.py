"""Git's objects as values: ids, tree entries, commits, and the names that git can't hold.

An object id is its 20 raw bytes; text at the edges is the usual 40 hex digits. Names are bytes.
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
    """One line of a git tree; `name` is as git stores it, that is escaped."""

    name: bytes
    mode: int
    oid: Oid


def object_id(kind: Kind, data: bytes) -> Oid:
    """Return the id git gives to an object of this kind with this content."""
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

    Raises ValueError for what is no tree.
    """
    entries: list[Entry] = []
    # bound once, and the tuple made without its constructor: a sysroot's trees have tens of
    # thousands of entries
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
        raise ValueError("the last id is cut off")
    return entries


def _odd_mode(text: bytes) -> int:
    """Return a mode that prov does not write.

    Raises ValueError for what is none: int() accepts more.
    """
    if not _OCTAL.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is not a mode")
    return int(text, 8)


EMPTY_TREE: Oid = object_id("tree", b"")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and when: a name, a mail address, seconds since the epoch, in UTC."""

    name: str
    mail: str
    seconds: int

    def encode(self) -> bytes:
        return f"{self.name} <{self.mail}> {self.seconds} +0000".encode()


CONSTANT_IDENTITY = Identity("prov", "prov@localhost", 0)
"""For commits whose id must be the same everywhere."""


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
    """Return a commit from its content; headers that prov does not use are skipped.

    Raises ValueError.
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
            who, seconds, _zone = value.rsplit(b" ", 2)
            name, _, mail = who.partition(b" <")
            author = Identity(
                name.decode("utf-8", "replace"),
                mail.rstrip(b">").decode("utf-8", "replace"),
                int(seconds),
            )
    return Commit(tree, tuple(parents), author, message.decode("utf-8", "replace"))


def _decode_oid(text: bytes) -> Oid:
    oid = bytes.fromhex(text.decode("ascii"))
    if len(oid) != 20 or len(text) != 40:
        raise ValueError(f"{text[:50]!r} is not an id")
    return oid


# Code points that HFS+ ignores in a name, so that git takes `.g\u200cit` for `.git` (git's utf8.c:
# next_hfs_char).
_IGNORED_BY_HFS = re.compile(rb"\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf")
# The short names by which NTFS may know `.git`, `.gitmodules`, `.gitattributes`, … (git's path.c:
# is_ntfs_dot_generic). The larger the number after the tilde, the less of the name is before it:
# `gi7eba~1` … `g~100000`, `~1000000`.
_SPECIAL = re.compile(
    rb"\.git|\.mailmap|(git|gi[0-9a-f]{4}|mailma|maba30)[^~]*~|(gi?[0-9a-f]{0,3}|ma?b?a?3?)?~[1-9]",
    re.IGNORECASE,
)
ESCAPE = b"%"


def escape_name(name: bytes) -> bytes:
    """Return the name under which git may hold a directory entry.

    Names that git refuses, or gives a meaning of its own (`.git`, `.gitmodules`, … and their
    disguises), get `%` in front, as do names that begin with it already, so that `unescape_name` is
    exact. To NTFS a backslash begins another name, hence another `%` after each.
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
    """Return the directory entry's name for one that `escape_name` made."""
    return name[1:].replace(b"\\%", b"\\") if name[:1] == ESCAPE else name
