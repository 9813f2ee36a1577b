"""Validate trees and commits from remotes: prov itself must be able to write them. Pure."""

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
"""Exclusive limit of a commit's time, in seconds since the epoch; git can store it."""
_NANOSECONDS = 1 << 65
"""Exclusive limit of an mtime's distance from the epoch; file systems reach the year 2446."""
_NUMBERS = 1 << 20
"""Exclusive limit of a device's major and minor number."""
_OWNERS = 1 << 32
"""Exclusive limit of a user or group id."""
_VALUE = 1 << 16
"""Maximum bytes of an extended attribute on Linux."""


class BadObject(Exception):
    """An object is rejected; the message names the object and the reason."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of fetched objects, by their size on disk."""

    paths: int = 5_000_000
    """Maximum number of files and folders."""
    size: int = 1 << 40
    """Maximum bytes of all files."""
    depth: int = 256
    """Maximum number of nested folders."""
    name: int = 255
    """Maximum bytes of a name."""
    path: int = 4095
    """Maximum bytes of a path."""
    commits: int = 1_000
    """Maximum number of runs in the history of a WORKDIR."""
    record: int = 16 << 20
    """Maximum bytes of an object to read as a whole: a tree, commit, definition or log, facts
    or attributes.
    """
    devices: bool = False
    """Whether device nodes are allowed."""


def checked_entries(content: bytes, path: bytes, limits: Limits) -> list[Entry]:
    """Return a tree's entries. Raises BadObject unless git and prov could have written the tree."""
    try:
        entries = decode_tree(content)
    except (ValueError, IndexError) as error:
        raise BadObject(f"the tree at {path!r} is damaged") from error
    names = [entry.name for entry in entries]
    if encode_tree(entries) != content or len(set(names)) != len(names):
        raise BadObject(f"the tree at {path!r} is not in git's canonical form")
    for entry in entries:
        _check_entry(entry, path + b"/" + entry.name if path else entry.name, limits)
    return entries


def _check_entry(entry: Entry, path: bytes, limits: Limits) -> None:
    if entry.mode not in _MODES or len(entry.oid) != OID_SIZE:
        raise BadObject(f"{path[:300]!r} has an invalid mode: {entry.mode:o}"[:400])
    if entry.name == BLOB_NAME and entry.mode == MODE_FILE:
        return
    real = unescape_name(entry.name)
    check_real_name(real, path, limits)
    if escape_name(real) != entry.name:
        raise BadObject(f"{path!r} has a name that git or a file system treats as a different name")


def checked_commit(content: bytes, oid: Oid) -> Commit:
    """Return a WORKDIR's or record's commit. Raises BadObject unless prov could have written it."""
    try:
        commit = decode_commit(content)
        is_unchanged = commit.encode() == content
    except (ValueError, IndexError) as error:
        raise BadObject(f"commit {oid.hex()} is damaged") from error
    if not is_unchanged or not _is_ours(commit):
        raise BadObject(f"commit {oid.hex()} was not written by prov")
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
    """Raise BadObject for an invalid file name or a path that is too long."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > limits.name:
        raise BadObject(f"{path[:300]!r} has an invalid file name")
    if len(path) > limits.path:
        raise BadObject(
            f"the path {path[:100]!r}… has {len(path)} bytes, the limit is {limits.path}"
        )


class _Ids:
    """Computes the ids of objects without writing them."""

    def add(self, kind: Kind, data: bytes) -> Oid:
        return object_id(kind, data)

    def add_tree(self, entries: list[Entry]) -> Oid:
        return object_id("tree", encode_tree(entries))


def check_listing(pair: Pair, listing: Listing, path: bytes, limits: Limits) -> None:
    """Raise BadObject unless prov could have recorded this folder of a directory."""
    for name, node in listing.items():
        if name == b".":
            _check_folder(node, path)
        else:
            check_real_name(name, path + name, limits)
        check_node(node, path + name, limits)
    ours = write_listing(_Ids(), listing, mtimes=True)
    if (ours.tree, ours.attributes or EMPTY_TREE) != (pair.tree, pair.attributes or EMPTY_TREE):
        raise BadObject(f"the folder {path!r} has invalid attributes")


def _check_folder(node: FileNode, path: bytes) -> None:
    if not node.is_directory or node.link or node.fixme or node.rdev:
        raise BadObject(f"the folder {path!r} has the attributes of a file")


def check_node(node: FileNode, path: bytes, limits: Limits) -> None:
    """Raise BadObject for invalid attributes, or those that `limits` does not allow."""
    is_device = stat.S_IFMT(node.mode) in _SPECIAL
    if is_device and not limits.devices:
        raise BadObject(f"{path!r} is a device node")
    if node.rdev is not None and not (is_device and _are_numbers(node.rdev, _NUMBERS)):
        raise BadObject(f"{path!r} has invalid device numbers: {node.rdev}")
    if node.mtime is not None and abs(node.mtime) >= _NANOSECONDS:
        raise BadObject(f"{path!r} has an invalid mtime: {node.mtime}")
    if not _are_numbers(node.owner, _OWNERS):
        raise BadObject(f"{path!r} has an invalid owner: {node.owner}")
    if node.link and not _is_inside(node.link):
        raise BadObject(f"{path!r} is linked to {node.link!r}, outside the directory")
    for key, value in node.xattrs:
        _check_xattr(key, value, path, limits)


def _are_numbers(numbers: tuple[int, int], end: int) -> bool:
    return all(0 <= number < end for number in numbers)


def _check_xattr(key: bytes, value: bytes, path: bytes, limits: Limits) -> None:
    is_allowed = limits.devices or key.startswith(b"user.")
    is_name = b"\0" not in key and len(b"user.") < len(key) <= limits.name
    if not is_allowed or not is_name:
        raise BadObject(f"{path!r} has a forbidden extended attribute: {key[:100]!r}")
    if len(value) > _VALUE:
        raise BadObject(
            f"{path!r} has an extended attribute of {len(value)} bytes, the limit is {_VALUE}"
        )


def _is_inside(link: bytes) -> bool:
    return not any(part in (b"", b".", b"..") for part in link.split(b"/"))
