"""Verify that a composed directory is unchanged, by one lstat per entry, without reading content.

Placed files are sealed: mode, owner, size and mtime show whether a file was written to, through any
of its hardlinks.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from prov.worktree.attributes import FileNode, Pair, TreeReader, read_listing
from prov.worktree.placer import EPOCH_NS, is_sealed

What = Literal["changed", "deleted", "added"]


class Mismatch(NamedTuple):
    """A path that has changed since it was placed."""

    path: bytes
    what: What
    placed: FileNode | None
    """The placed entry; None for an added one."""
    detail: str = ""
    changed_at: float = 0.0
    """Time of the inode's last change, in seconds since the epoch."""

    def __str__(self) -> str:
        return f"{os.fsdecode(self.path)} ({self.detail or self.what})"


def differences(reader: TreeReader, directory: Path, placed: Pair) -> list[Mismatch]:
    """Return the differences between a directory and its composed tree, sorted by path.

    An unreadable folder ends the comparison and is one of the differences.
    """
    mismatches: list[Mismatch] = []
    try:
        _compare(reader, os.fsencode(directory), b"", placed, mismatches)
    except OSError as error:
        path = os.path.relpath(os.fsencode(error.filename or directory), os.fsencode(directory))
        mismatches.append(
            Mismatch(path, "changed", None, f"cannot be read: {error.strerror}", time.time())
        )
    return sorted(mismatches, key=lambda mismatch: mismatch.path)


def folders_seal(directory: Path, folders: Iterable[bytes]) -> bytes:
    """Return a digest that changes if an entry is added to or deleted from these folders.

    It covers each folder's mode, inode and ctime, which no process can set back. Returns an empty
    digest if a folder is missing.
    """
    root = os.fsencode(directory)
    try:
        states = [os.lstat(root + b"/" + path) for path in (b"", *sorted(folders))]
    except OSError:
        return b""
    digest = hashlib.sha1()
    for state in states:
        digest.update(b"%d %d %d\n" % (state.st_mode, state.st_ino, state.st_ctime_ns))
    return digest.digest()


def _compare(
    reader: TreeReader, root: bytes, path: bytes, pair: Pair, mismatches: list[Mismatch]
) -> int:
    """Add the differences in a folder and its subfolders; return the folder's expected mode."""
    listing = read_listing(reader, pair)
    prefix = path + b"/" if path else b""
    names: set[bytes] = set()
    with os.scandir(root + b"/" + path if path else root) as entries:
        for entry in entries:
            name = entry.name
            node = listing.get(name)
            try:
                state = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # deleted since it was listed
                continue
            if node is None:
                mismatches.append(
                    Mismatch(prefix + name, "added", None, "was added", state.st_ctime)
                )
                continue
            names.add(name)
            detail = _difference(root + b"/" + prefix + name, state, node)
            if detail:
                mismatches.append(Mismatch(prefix + name, "changed", node, detail, state.st_ctime))
            elif node.is_directory:
                try:
                    own = _compare(reader, root, prefix + name, node.pair, mismatches)
                except FileNotFoundError:  # deleted since it was listed
                    mismatches.append(Mismatch(prefix + name, "deleted", node))
                    continue
                if own != stat.S_IMODE(state.st_mode):
                    detail = f"its mode was {own:o}, is {stat.S_IMODE(state.st_mode):o}"
                    mismatches.append(
                        Mismatch(prefix + name, "changed", node, detail, state.st_ctime)
                    )
    mismatches += [
        Mismatch(prefix + name, "deleted", listing[name])
        for name in listing.keys() - names - {b"."}
    ]
    return stat.S_IMODE(listing[b"."].mode)


def _difference(path: bytes, state: os.stat_result, node: FileNode) -> str:
    """Return a description of how an entry changed, or nothing if it is unchanged."""
    if stat.S_IFMT(state.st_mode) != stat.S_IFMT(node.mode):
        return "has a different type"
    if stat.S_ISLNK(node.mode):
        placed = EPOCH_NS if node.mtime is None else node.mtime
        # a symlink cannot be written to, only replaced
        return "" if state.st_mtime_ns == placed else "was replaced"
    if stat.S_ISREG(node.mode):
        if is_sealed(state, node):
            return ""
        if state.st_uid != os.geteuid():
            return f"its owner is {state.st_uid}"
        if state.st_mode != node.mode:
            return f"its mode was {stat.S_IMODE(node.mode):o}, is {stat.S_IMODE(state.st_mode):o}"
        return f"was written to, has {state.st_size} bytes now"
    return ""
