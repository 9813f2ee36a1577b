"""A tree becomes a directory: the difference between what is there and what is wanted is applied,
no more.

The same walk serves WORKDIRs (private, writable files with their mtimes) and sysroots (hardlinks
into the pool); which of the two is the `Placer`'s choice. Every name is checked, and every folder
is entered by descriptor without following links: a tree from elsewhere can't write outside its
directory.

Folders that are new are queued; when there are many, a second process takes its share of them.
Programs come last: by the time that one can be found, the libraries that it needs are there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prov.errors import CheckoutError
from prov.files import MOST_OPEN, open_folder, remove_entry, remove_tree, set_mode, temporary_name
from prov.worktree.attributes import EMPTY, FileNode, Pair, read_listing, walk
from prov.worktree.parallel import by_turns
from prov.worktree.placer import EPOCH_NS, ObjectReader, Placer, PrivatePlacer, set_owner

PROGRAMS = (b"bin", b"sbin", b"libexec")
"""Folders that come last."""
SHARE_FROM = 128
"""New folders to have in hand before they are shared with a second process."""
CROWD = 250
"""Files in one folder that are placed as one piece of work."""


_NO_NAMES = frozenset((b"", b".", b".."))


def check_name(name: bytes) -> None:
    """Raise CheckoutError for a name that would lead out of its directory."""
    if b"/" in name or name in _NO_NAMES or b"\0" in name:
        raise CheckoutError(
            f"a tree holds the name {name!r}, which no directory can have",
            hint="don't trust its origin",
        )


_Group = tuple[object, ...]
"""Files that are to be one inode: their label and their content."""


class _Folder(NamedTuple):
    """A folder that is on disk, and what it holds and is to hold."""

    path: bytes
    now: Pair | None
    """None: nothing."""
    wanted: Pair
    files: tuple[tuple[bytes, FileNode], ...] = ()
    """Of a crowded folder that is done otherwise: files that are to be placed yet."""


class _Done(NamedTuple):
    """What a process did of what there is to do."""

    placed: int
    torn: set[bytes]
    programs: list[_Folder]
    closed: list[tuple[bytes, FileNode]]
    notes: list[tuple[bytes, str]]
    made: list[bytes]
    gone: list[bytes]


@dataclass(slots=True)
class _Checkout:
    objects: ObjectReader
    placer: Placer
    root: Path
    fresh: bool = False
    """The directory was made just now."""
    queues: bool = True
    """New folders are queued, programs' put off; else all is done at once."""
    placed: int = 0
    new: deque[_Folder] = field(default_factory=deque)
    programs: list[_Folder] = field(default_factory=list)
    crowds: list[_Folder] = field(default_factory=list)
    closed: list[tuple[bytes, FileNode]] = field(default_factory=list)
    """Folders that get their own attributes last: crowded ones, and those that their owner may not
    pass through.
    """
    torn: set[bytes] = field(default_factory=set)
    """Hardlink groups of which a member was touched."""
    made: list[bytes] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    """Folders that were made, and removed with all that was in them."""

    # the order of the work

    def run(self, now: Pair, wanted: Pair) -> None:
        self.visit(_Folder(b"", now, wanted))
        self.work_off(self.new)
        self.new, self.programs = deque(self.programs), []
        self.work_off(self.new, programs=True)
        self.mend_links(wanted)
        # the deepest first: one that is closed to its owner can't be passed through any more
        for path, own in sorted(self.closed, key=lambda one: -len(one[0])):
            with self.opened(path) as fd:
                _finish(fd, own)

    def work_off(self, folders: deque[_Folder], *, programs: bool = False) -> None:
        """Do what is queued, with all that comes of it; two processes share it when it is much."""
        alone = len(os.sched_getaffinity(0)) < 2
        while folders and (alone or len(folders) < SHARE_FROM):
            self.visit(folders.popleft())
            if programs:  # nothing comes after them
                folders.extend(self.programs)
                self.programs = []
        work, self.crowds = [*folders, *self.crowds], []
        if alone or len(work) < 2:
            for folder in work:
                self.visit(folder)
            return
        share = partial(self.share, len(self.placer.notes), programs=programs)
        here, there = by_turns(work, share, "placing files")
        self.placer.notes += there.notes
        for done in (here, there):
            self.placed += done.placed
            self.torn |= done.torn
            self.programs += done.programs
            self.closed += done.closed
            self.made += done.made
            self.gone += done.gone

    def share(self, known: int, folders: Iterator[_Folder], *, programs: bool) -> _Done:
        """Do a share of the work, without a queue but for programs; so many notes are `known`
        already.
        """
        part = _Checkout(self.objects, self.placer, self.root, queues=False)
        for folder in folders:
            part.visit(folder)
            while part.new:
                part.visit(part.new.popleft())
        while programs and part.programs:
            part.visit(part.programs.pop())
            while part.new:
                part.visit(part.new.popleft())
        notes = self.placer.notes[known:]
        return _Done(
            part.placed, part.torn, part.programs, part.closed, notes, part.made, part.gone
        )

    # one folder

    def visit(self, folder: _Folder) -> None:
        with self.opened(folder.path) as fd:
            if folder.files:
                self.place(fd, folder.path + b"/" if folder.path else b"", folder.files)
            else:
                self.folder(fd, folder)

    def folder(self, fd: int, folder: _Folder) -> None:
        """Make one folder what it should be, but for those in it that are queued."""
        path = folder.path
        prefix = path + b"/" if path else b""
        now = read_listing(self.objects, folder.now) if folder.now is not None else {}
        wanted = read_listing(self.objects, folder.wanted)
        own, touched = wanted[b"."], now.get(b".") != wanted[b"."] or (self.fresh and not path)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(fd, 0o700)
            touched = True
        for name in now.keys() - wanted.keys():
            self.remove(fd, prefix, name, now[name])
            touched = True
        folders, files = [], []
        for name, node in wanted.items():
            if name == b".":
                continue
            have = now.get(name)
            if have == node:
                continue
            check_name(name)
            if stat.S_ISDIR(node.mode):
                folders.append((name, have, node))
            elif have is not None and self.is_dated(have, node):
                self.date(fd, name, node)
            else:
                if have is not None:
                    self.remove(fd, prefix, name, have)
                files.append((name, node))
                touched = True
        crowded = self.queues and len(files) > CROWD
        if crowded:
            parts = [tuple(files[at : at + CROWD]) for at in range(0, len(files), CROWD)]
            self.crowds += [folder._replace(files=part) for part in parts]
        else:
            self.place(fd, prefix, files)
        for name, have, node in folders:
            touched |= self.enter(fd, prefix, name, have, node)
        if touched:
            if own.mode & stat.S_IRWXU == stat.S_IRWXU and not crowded:
                _finish(fd, own)
            else:
                self.closed.append((path, own))

    def place(self, fd: int, prefix: bytes, files: Iterable[tuple[bytes, FileNode]]) -> None:
        """Place files and the like at names that are free."""
        for name, node in files:
            self.placed += 1
            if node.link and not self.placer.shares:
                self.torn.add(node.link)  # mend_links places it
            elif node.mode & 0o170000 == stat.S_IFREG:
                self.placer.place(node, prefix + name, fd)
            else:
                self.put(fd, prefix, name, node)

    def enter(
        self, fd: int, prefix: bytes, name: bytes, have: FileNode | None, node: FileNode
    ) -> bool:
        """Make a folder what it should be, now or later; return whether it was made anew."""
        new = have is None or not have.is_directory
        if new:
            if have is not None:
                self.remove(fd, prefix, name, have)
            os.mkdir(name, 0o755, dir_fd=fd)
            self.made.append(prefix + name)
        folder = _Folder(
            prefix + name, have.pair if have is not None and not new else None, node.pair
        )
        if name in PROGRAMS:
            self.programs.append(folder)
        elif (new and self.queues) or prefix.count(b"/") % MOST_OPEN == MOST_OPEN - 1:
            self.new.append(folder)
        else:
            inside = open_folder(name, fd)
            try:
                self.folder(inside, folder)
            finally:
                os.close(inside)
        return new

    def remove(self, fd: int, prefix: bytes, name: bytes, node: FileNode) -> None:
        if not self.placer.shares:
            inside = walk(self.objects, node.pair) if node.is_directory else []
            self.torn.update(each.link for _, each in [(name, node), *inside] if each.link)
        if not node.is_directory:
            os.unlink(name, dir_fd=fd)
            return
        self.gone.append(prefix + name)
        remove_entry(name, fd)

    def is_dated(self, have: FileNode, node: FileNode) -> bool:
        """Tell whether another mtime is all that a file needs, and it is nobody else's, too."""
        return have.same_content == node.same_content and not node.link and not self.placer.shares

    def date(self, fd: int, name: bytes, node: FileNode) -> None:
        mtime = EPOCH_NS if node.mtime is None else node.mtime
        os.utime(name, ns=(mtime, mtime), dir_fd=fd, follow_symlinks=False)

    def put(self, fd: int, prefix: bytes, name: bytes, node: FileNode) -> None:
        if node.mode & 0o170000 == stat.S_IFREG:
            self.placer.place(node, prefix + name, fd)
        elif stat.S_ISLNK(node.mode):
            os.symlink(self.objects.blob(node.oid), name, dir_fd=fd)
            set_owner(node, name, fd)
            self.date(fd, name, node)
        else:
            self.special(fd, prefix, name, node)

    def special(self, fd: int, prefix: bytes, name: bytes, node: FileNode) -> None:
        device = os.makedev(*node.rdev) if node.rdev else 0
        try:
            os.mknod(name, node.mode, device, dir_fd=fd)
        except PermissionError as error:
            raise CheckoutError(
                f"{os.fsdecode(prefix + name)}: only root can make this device node",
                hint="run as root, or under fakeroot",
            ) from error
        set_owner(node, name, fd)
        set_mode(name, stat.S_IMODE(node.mode), fd)
        self.date(fd, name, node)

    # hardlinks

    def mend_links(self, wanted: Pair) -> None:
        """Make every hardlink group that was touched anew, as a whole."""
        if not self.torn:
            return
        folders: dict[bytes, list[tuple[bytes, FileNode]]] = {}
        for path, node in walk(self.objects, wanted):
            if node.link and node.link in self.torn:
                folder, _, name = path.rpartition(b"/")
                folders.setdefault(folder, []).append((name, node))
        first: dict[_Group, bytes] = {}
        for folder, members in folders.items():
            with self.opened(folder) as fd:
                if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.fchmod(fd, 0o700)
                for name, node in members:
                    self.mend_link(fd, folder + b"/" if folder else b"", name, node, first)
                own = read_listing(self.objects, _pair_at(self.objects, wanted, folder))[b"."]
                if own.mode & stat.S_IRWXU == stat.S_IRWXU:
                    _finish(fd, own)
                else:
                    self.closed.append((folder, own))

    def mend_link(
        self,
        fd: int,
        prefix: bytes,
        name: bytes,
        node: FileNode,
        first: dict[tuple[object, ...], bytes],
    ) -> None:
        """Place one member of a group: the first as a file, the others as links to it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        group = (node.link, node.same_file)  # a label says nothing of content that is not the same
        if group in first:
            folder, _, source = first[group].rpartition(b"/")
            with self.opened(folder) as start:
                os.link(source, name, src_dir_fd=start, dst_dir_fd=fd, follow_symlinks=False)
        else:
            self.put(fd, prefix, name, node)
            first[group] = prefix + name

    @contextlib.contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        """Open a folder below the root, no link on the way being followed."""
        fd = open_folder(self.root)
        try:
            for part in [part for part in path.split(b"/") if part]:
                check_name(part)
                inside = open_folder(part, fd)
                os.close(fd)
                fd = inside
            yield fd
        finally:
            os.close(fd)


def _finish(fd: int, own: FileNode) -> None:
    """Give a folder its own attributes, when nothing is written into it any more."""
    set_owner(own, fd)
    for key, value in own.xattrs:
        os.setxattr(fd, key, value)
    mtime = EPOCH_NS if own.mtime is None else own.mtime
    os.utime(fd, ns=(mtime, mtime))
    os.fchmod(fd, stat.S_IMODE(own.mode))


def _pair_at(objects: ObjectReader, pair: Pair, path: bytes) -> Pair:
    for part in [part for part in path.split(b"/") if part]:
        pair = read_listing(objects, pair)[part].pair
    return pair


def checkout(
    objects: ObjectReader,
    directory: Path,
    wanted: Pair,
    *,
    now: Pair = EMPTY,
    placer: Placer | None = None,
    folders: set[bytes] | None = None,
) -> int:
    """Make a directory hold `wanted`, given that it holds `now`; return how many files and links
    were placed.

    `folders`, the paths of all folders in the directory, is brought up to date. What is there and
    not in `now` (excluded paths) is left alone. Costs the difference of the two. Killed midway it
    leaves neither: capture the directory to know what is there, and call again. Raises
    CheckoutError.
    """
    work = _Checkout(
        objects, placer or PrivatePlacer(objects), directory, fresh=not directory.exists()
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        work.root = directory.resolve()  # a link to a folder may stand for it, and none below it
        work.run(now, wanted)
    except (OSError, RecursionError, ValueError, OverflowError) as error:
        raise CheckoutError(
            f"{directory}: can't be put in place: {error}",
            hint="make room or mend permissions, then run the same again",
        ) from error
    if folders is not None:
        tops = tuple(path + b"/" for path in work.gone)
        folders.difference_update(
            [path for path in folders if (path + b"/").startswith(tops)] if tops else ()
        )
        folders.update(work.made)
    return work.placed


def checkout_new(
    objects: ObjectReader, directory: Path, wanted: Pair, *, placer: Placer | None = None
) -> int:
    """Make a directory that is not there, or is empty; return how many files and links were placed.

    One that is not there appears when it is whole: it is made beside and renamed. Raises
    CheckoutError.
    """
    if os.path.lexists(directory):
        return checkout(objects, directory, wanted, placer=placer)
    beside = directory.with_name(temporary_name(directory.name))
    try:
        _remove_leftovers(directory)
        placed = checkout(objects, beside, wanted, placer=placer)
        beside.rename(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove_tree(beside)
        if isinstance(error, CheckoutError):
            raise CheckoutError(
                str(error).replace(str(beside), str(directory)), hint=error.hint
            ) from error
        if isinstance(error, OSError):
            raise CheckoutError(
                f"{directory}: can't be put in place: {error}",
                hint="make room or mend permissions, then run the same again",
            ) from error
        raise
    return placed


def _remove_leftovers(directory: Path) -> None:
    """Remove what processes that were killed left beside a directory."""
    start = temporary_name(directory.name).split(".")[1]
    for path in directory.parent.glob(f".{start}.*.tmp"):
        pid = path.name.removesuffix(".tmp").rpartition(".")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            remove_tree(path)
