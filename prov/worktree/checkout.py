"""A tree becomes a directory: the difference between what is there and what is wanted is applied, no more.

The same walk serves WORKDIRs (private, writable files with their mtimes) and sysroots (hardlinks into the pool);
which of the two is the `Placer`'s choice. Every name is checked, and every folder is entered by descriptor without
following links: a tree from elsewhere can't write outside its directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prov.errors import CheckoutError
from prov.files import remove_tree
from prov.store.objects import Oid
from prov.worktree.attributes import EMPTY, Listing, Node, Pair, TreeReader, read_listing, walk

EPOCH_NS = 315_532_800_000_000_000
"""1980-01-01, the mtime of what has none of its own: the same everywhere, and zip can still hold it."""


class ObjectReader(TreeReader, Protocol):
    """What a checkout needs of a store."""

    def stream_blob(self, oid: Oid) -> Iterator[bytes]: ...


class Placer(Protocol):
    """Puts one regular file at a name that is free, mode and mtime included."""

    def place(self, node: Node, name: bytes, folder: int) -> None: ...


@dataclass(slots=True)
class Private:
    """Places files of their own, which may be written to."""

    objects: ObjectReader

    def place(self, node: Node, name: bytes, folder: int) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            write_blob(self.objects, node.oid, fd)
            for key, value in node.xattrs:
                os.setxattr(fd, key, value)
            os.fchmod(fd, stat.S_IMODE(node.mode))
            mtime = EPOCH_NS if node.mtime is None else node.mtime
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)


def write_blob(objects: ObjectReader, oid: bytes, fd: int) -> None:
    """Write a blob's content to a descriptor, in chunks."""
    for chunk in objects.stream_blob(oid):
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(fd, rest) :]


def check_name(name: bytes) -> None:
    """Raise CheckoutError for a name that would lead out of its directory."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise CheckoutError(
            f"a tree holds the name {name!r}, which no directory can have", hint="don't trust its origin"
        )


@dataclass(slots=True)
class _Checkout:
    objects: ObjectReader
    placer: Placer
    root: Path
    placed: int = 0
    finish: list[tuple[bytes, Node]] = field(default_factory=list)
    """Folders whose mode and mtime are set last, when nothing is written into them any more."""
    torn: set[bytes] = field(default_factory=set)
    """Hardlink groups of which a member was touched."""

    def folder(self, fd: int, path: bytes, now: Listing, wanted: Listing) -> None:
        prefix = path + b"/" if path else b""
        own, touched = wanted[b"."], now.get(b".") != wanted[b"."]
        if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(fd, 0o700)
            touched = True
        for name in now.keys() - wanted.keys():
            self.remove(fd, prefix, name, now[name])
            touched = True
        for name, node in wanted.items():
            if name == b".":
                continue
            have = now.get(name)
            if have == node:
                continue
            check_name(name)
            if node.is_directory:
                touched |= self.enter(fd, prefix, name, have, node)
            elif have is not None and have.same_content == node.same_content and not node.link:
                self.date(fd, name, node)
            else:
                if have is not None:
                    self.remove(fd, prefix, name, have)
                self.place(fd, prefix, name, node)
                touched = True
        if touched:
            self.finish.append((path, own))

    def enter(self, fd: int, prefix: bytes, name: bytes, have: Node | None, node: Node) -> bool:
        """Make a folder what it should be; return whether it was made anew."""
        new = have is None or not have.is_directory
        if new:
            if have is not None:
                self.remove(fd, prefix, name, have)
            os.mkdir(name, 0o700, dir_fd=fd)
        inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            now = {} if new or have is None else read_listing(self.objects, have.pair)
            self.folder(inside, prefix + name, now, read_listing(self.objects, node.pair))
        finally:
            os.close(inside)
        return new

    def remove(self, fd: int, prefix: bytes, name: bytes, node: Node) -> None:
        if node.link:
            self.torn.add(node.link)
        if not node.is_directory:
            os.unlink(name, dir_fd=fd)
            return
        for path, inner in walk(self.objects, node.pair):
            if inner.link:
                self.torn.add(inner.link)
            del path
        remove_tree(self.root / os.fsdecode(prefix + name))

    def date(self, fd: int, name: bytes, node: Node) -> None:
        mtime = EPOCH_NS if node.mtime is None else node.mtime
        os.utime(name, ns=(mtime, mtime), dir_fd=fd, follow_symlinks=False)

    def place(self, fd: int, prefix: bytes, name: bytes, node: Node) -> None:
        self.placed += 1
        if node.link:
            self.torn.add(node.link)  # mend_links places it
        else:
            self.put(fd, prefix, name, node)

    def put(self, fd: int, prefix: bytes, name: bytes, node: Node) -> None:
        if stat.S_ISREG(node.mode):
            self.placer.place(node, name, fd)
        elif stat.S_ISLNK(node.mode):
            os.symlink(self.objects.blob(node.oid), name, dir_fd=fd)
            self.date(fd, name, node)
        else:
            self.special(fd, prefix, name, node)

    def special(self, fd: int, prefix: bytes, name: bytes, node: Node) -> None:
        device = os.makedev(*node.rdev) if node.rdev else 0
        try:
            os.mknod(name, node.mode, device, dir_fd=fd)
        except PermissionError as error:
            raise CheckoutError(
                f"{os.fsdecode(prefix + name)}: only root can make this device node",
                hint="run as root, or under fakeroot",
            ) from error
        os.chmod(name, stat.S_IMODE(node.mode), dir_fd=fd)
        self.date(fd, name, node)

    def mend_links(self, wanted: Pair) -> None:
        """Make every hardlink group that was touched anew, as a whole."""
        if not self.torn:
            return
        folders: dict[bytes, list[tuple[bytes, Node]]] = {}
        for path, node in walk(self.objects, wanted):
            if node.link and node.link in self.torn:
                folder, _, name = path.rpartition(b"/")
                folders.setdefault(folder, []).append((name, node))
        first: dict[bytes, bytes] = {}
        for folder, members in folders.items():
            fd = self.open_folder(folder)
            try:
                if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.fchmod(fd, 0o700)
                for name, node in members:
                    self.mend_link(fd, folder + b"/" if folder else b"", name, node, first)
            finally:
                os.close(fd)
            listing = read_listing(self.objects, _pair_at(self.objects, wanted, folder))
            self.finish.append((folder, listing[b"."]))

    def mend_link(self, fd: int, prefix: bytes, name: bytes, node: Node, first: dict[bytes, bytes]) -> None:
        """Place one member of a group: the first as a file, the others as links to it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        if node.link in first:
            start = os.path.join(os.fsencode(self.root), first[node.link])
            os.link(start, name, dst_dir_fd=fd, follow_symlinks=False)
        else:
            self.put(fd, prefix, name, node)
            first[node.link] = prefix + name

    def open_folder(self, path: bytes) -> int:
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in [part for part in path.split(b"/") if part]:
            check_name(part)
            try:
                inside = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inside
        return fd

    def finish_folders(self) -> None:
        # the deepest first: one that is closed to its owner can't be passed through any more
        for path, own in sorted(self.finish, key=lambda one: -len(one[0])):
            fd = self.open_folder(path)
            try:
                for key, value in own.xattrs:
                    os.setxattr(fd, key, value)
                mtime = EPOCH_NS if own.mtime is None else own.mtime
                os.utime(fd, ns=(mtime, mtime))
                os.fchmod(fd, stat.S_IMODE(own.mode))
            finally:
                os.close(fd)


def _pair_at(objects: ObjectReader, pair: Pair, path: bytes) -> Pair:
    for part in [part for part in path.split(b"/") if part]:
        pair = read_listing(objects, pair)[part].pair
    return pair


def checkout(
    objects: ObjectReader, directory: Path, wanted: Pair, *, now: Pair = EMPTY, placer: Placer | None = None
) -> int:
    """Make a directory hold `wanted`, given that it holds `now`; return how many files and links were placed.

    What is in the directory and not in `now` (excluded paths) is left alone. Costs the difference of the two. Killed
    midway it leaves neither: capture the directory to know what is there, and call again. Raises CheckoutError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    work = _Checkout(objects, placer or Private(objects), directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = read_listing(objects, now) if now != EMPTY else {}
        work.folder(fd, b"", before, read_listing(objects, wanted))
        work.mend_links(wanted)
        work.finish_folders()
    except OSError as error:
        raise CheckoutError(
            f"{directory}: can't be put in place: {error}",
            hint="make room or mend permissions, then run the same again",
        ) from error
    finally:
        os.close(fd)
    return work.placed
