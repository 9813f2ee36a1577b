"""What a tree or a commit from elsewhere may be: what prov itself could have written. Pure."""

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

OID_SIZE = 20
_MODES = (MODE_DIRECTORY, MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK)
_SPECIAL = (stat.S_IFCHR, stat.S_IFBLK)
_PARENTS = 2
_TIMES = 1 << 40
"""Seconds since the epoch, fewer than which git can hold."""
_NANOSECONDS = 1 << 65
"""And those that an mtime is from it: file systems reach the year 2446."""
_NUMBERS = 1 << 20
"""What a device's numbers are smaller than."""
_OWNERS = 1 << 32
"""What an owner's and a group's numbers are smaller than."""
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
    names = [entry.name for entry in entries]
    if encode_tree(entries) != content or len(set(names)) != len(names):
        raise BadObject(f"the tree at {path!r} is not as git writes trees")
    for entry in entries:
        _check_entry(entry, path + b"/" + entry.name if path else entry.name, limits)
    return entries


def _check_entry(entry: Entry, path: bytes, limits: Limits) -> None:
    if entry.mode not in _MODES or len(entry.oid) != OID_SIZE:
        raise BadObject(f"{path[:300]!r} has the mode {entry.mode:o}"[:400])
    if entry.name == BLOB_NAME and entry.mode == MODE_FILE:
        return
    real = unescape_name(entry.name)
    check_real_name(real, path, limits)
    if escape_name(real) != entry.name:
        raise BadObject(f"{path!r} is a name that git, or some file system, takes for another")


def checked_commit(content: bytes, oid: Oid) -> Commit:
    """Return a commit if it is one that prov makes of WORKDIRs and records. Raises BadObject."""
    try:
        commit = decode_commit(content)
        is_unchanged = commit.encode() == content
    except (ValueError, IndexError) as error:
        raise BadObject(f"commit {oid.hex()} is damaged") from error
    if not is_unchanged or not _is_ours(commit):
        raise BadObject(f"commit {oid.hex()} is not as prov writes commits")
    return commit


def _is_ours(commit: Commit) -> bool:
    by = commit.author
    oids = (commit.tree, *commit.parents)
    return (
        len(commit.parents) <= _PARENTS
        and "\0" not in commit.message
        and (by.name, by.mail) == (CONSTANT_IDENTITY.name, CONSTANT_IDENTITY.mail)
        and 0 <= by.seconds < _TIMES
        and all(len(oid) == OID_SIZE for oid in oids)
    )


def check_real_name(name: bytes, path: bytes, limits: Limits) -> None:
    """Raise BadObject for a name that no file in a directory can have, or a path that is too
    long.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > limits.name:
        raise BadObject(f"{path[:300]!r} has a name that no file can have")
    if len(path) > limits.path:
        raise BadObject(f"{path[:100]!r}… is too long a path")


class _Ids:
    """Returns the ids that objects would have; writes none."""

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
            _check_folder(node, path)
        else:
            check_real_name(name, path + name, limits)
        check_node(node, path + name, limits)
    ours = write_listing(_Ids(), listing, mtimes=True)
    if (ours.tree, ours.attributes or EMPTY_TREE) != (pair.tree, pair.attributes or EMPTY_TREE):
        raise BadObject(f"the folder {path!r} has attributes that prov does not write")


def _check_folder(node: FileNode, path: bytes) -> None:
    if not node.is_directory or node.link or node.fixme or node.rdev:
        raise BadObject(f"{path!r} is a folder with the attributes of a file")


def check_node(node: FileNode, path: bytes, limits: Limits) -> None:
    """Raise BadObject for attributes that no file can have, or that are not allowed to come in."""
    is_device = stat.S_IFMT(node.mode) in _SPECIAL
    if is_device and not limits.devices:
        raise BadObject(f"{path!r} is a device node")
    if node.rdev is not None and not (is_device and _are_numbers(node.rdev, _NUMBERS)):
        raise BadObject(f"{path!r} has the numbers of a device")
    if node.mtime is not None and abs(node.mtime) >= _NANOSECONDS:
        raise BadObject(f"{path!r} has an mtime that no file can have")
    if not _are_numbers(node.owner, _OWNERS):
        raise BadObject(f"{path!r} has an owner that no file can have")
    if node.link and not _is_inside(node.link):
        raise BadObject(f"{path!r} is linked to {node.link!r}, which is outside")
    for key, value in node.xattrs:
        _check_xattr(key, value, path, limits)


def _are_numbers(numbers: tuple[int, int], end: int) -> bool:
    return all(0 <= number < end for number in numbers)


def _check_xattr(key: bytes, value: bytes, path: bytes, limits: Limits) -> None:
    is_allowed = limits.devices or key.startswith(b"user.")
    is_name = b"\0" not in key and len(b"user.") < len(key) <= limits.name
    if not is_allowed or not is_name:
        raise BadObject(f"{path!r} has the extended attribute {key[:100]!r}")
    if len(value) > _VALUE:
        raise BadObject(f"{path!r} has an extended attribute of {len(value)} bytes")


def _is_inside(link: bytes) -> bool:
    return not any(part in (b"", b".", b"..") for part in link.split(b"/"))
