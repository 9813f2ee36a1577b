"""What a tree or a commit from elsewhere may be: what prov itself could have written, and nothing
else. Pure.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Commit,
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
from prov.worktree.attributes import BLOB_NAME, FileNode, Listing, Pair, write_listing

_MODES = (MODE_DIRECTORY, MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK)
_SPECIAL = (stat.S_IFCHR, stat.S_IFBLK)
_PARENTS = 2
_TIMES = 1 << 40
"""Seconds since the epoch, fewer than which git can hold."""
_NANOSECONDS = 1 << 65
"""And those that an mtime is from it: file systems reach the year 2446."""
_NUMBERS = 1 << 20
"""What a device's numbers are smaller than."""
_VALUE = 1 << 16
"""As many bytes Linux allows in an extended attribute."""


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
    record: int = 16 << 20
    """Bytes of what is held in memory as a whole: a tree, a commit, facts, a definition, a log,
    attributes.
    """
    devices: bool = False
    """Device nodes are allowed."""


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
            raise BadObject(f"{below[:300]!r} has the mode {each.mode:o}"[:400])
        if each.name == BLOB_NAME and each.mode == MODE_FILE:
            continue
        real = unescape_name(each.name)
        check_real_name(real, below, limits)
        if escape_name(real) != each.name:
            raise BadObject(f"{below!r} is a name that git, or some file system, takes for another")
    return entries


def checked_commit(content: bytes, oid: Oid) -> Commit:
    """Return a commit if it is one that prov makes of WORKDIRs and records. Raises BadObject."""
    try:
        commit = decode_commit(content)
        good = (
            commit.encode() == content
            and len(commit.parents) <= _PARENTS
            and "\0" not in commit.message
        )
        by = commit.author
        good &= (by.name, by.mail) == (
            CONSTANT_IDENTITY.name,
            CONSTANT_IDENTITY.mail,
        ) and 0 <= by.seconds < _TIMES
    except (ValueError, IndexError) as error:
        raise BadObject(f"commit {oid.hex()} is damaged") from error
    if not good or any(len(each) != 20 for each in (commit.tree, *commit.parents)):
        raise BadObject(f"commit {oid.hex()} is not as prov writes commits")
    return commit


def check_real_name(name: bytes, path: bytes, limits: Limits) -> None:
    """Raise BadObject for a name that no file in a directory can have, or a path that is too
    long.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > limits.name:
        raise BadObject(f"{path[:300]!r} has a name that no file can have")
    if len(path) > limits.path:
        raise BadObject(f"{path[:100]!r}… is too long a path")


class _Ids:
    """Tells what the ids of objects would be."""

    def add(self, kind: Kind, data: bytes) -> Oid:
        return object_id(kind, data)

    def add_tree(self, entries: list[Entry]) -> Oid:
        return object_id("tree", encode_tree(entries))


def check_listing(pair: Pair, listing: Listing, path: bytes, limits: Limits) -> None:
    """Raise BadObject unless a folder of a recorded directory is one that prov could have
    recorded.
    """
    for name, node in listing.items():
        if name == b".":
            if not node.is_directory or node.link or node.fixme or node.rdev:
                raise BadObject(f"{path!r} is a folder with the attributes of a file")
        else:
            check_real_name(name, path + name, limits)
        _check_node(node, path + name, limits)
    made = write_listing(_Ids(), listing, mtimes=True)
    if made.tree != pair.tree or (made.attributes or EMPTY_TREE) != (pair.attributes or EMPTY_TREE):
        raise BadObject(f"the folder {path!r} has attributes that prov does not write")


def _check_node(node: FileNode, path: bytes, limits: Limits) -> None:
    special = stat.S_IFMT(node.mode) in _SPECIAL
    if special and not limits.devices:
        raise BadObject(f"{path!r} is a device node")
    if node.rdev is not None and not (
        special and all(0 <= number < _NUMBERS for number in node.rdev)
    ):
        raise BadObject(f"{path!r} has the numbers of a device")
    if node.mtime is not None and abs(node.mtime) >= _NANOSECONDS:
        raise BadObject(f"{path!r} has an mtime that no file can have")
    if not all(0 <= number < 1 << 32 for number in node.owner):
        raise BadObject(f"{path!r} has an owner that no file can have")
    if node.link and not _inside(node.link):
        raise BadObject(f"{path!r} is linked to {node.link!r}, which is outside")
    for key, value in node.xattrs:
        if (
            not (limits.devices or key.startswith(b"user."))
            or b"\0" in key
            or not 5 < len(key) <= limits.name
        ):
            raise BadObject(f"{path!r} has the extended attribute {key[:100]!r}")
        if len(value) > _VALUE:
            raise BadObject(f"{path!r} has an extended attribute of {len(value)} bytes")


def _inside(link: bytes) -> bool:
    return not link.startswith(b"/") and not any(
        part in (b"", b".", b"..") for part in link.split(b"/")
    )
