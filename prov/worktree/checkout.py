"""Check out a tree: apply the difference between a directory's content and the tree.

The same code writes WORKDIRs (private, writable files with mtimes) and sysroots (hardlinks into the
pool); the `Placer` makes the difference. Every name is checked, and every folder is opened by file
descriptor without following links, so an untrusted tree cannot write outside its directory.

New folders are queued; if there are many, a second process shares the work. Folders of programs
come last, so the libraries that a program needs exist before the program does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prov.errors import CHECK_STORE, CheckoutError
from prov.files import MOST_OPEN, open_folder, remove_entry, remove_tree, set_mode, temporary_name
from prov.progress import counted
from prov.worktree.attributes import EMPTY, FILE_TYPE, FileNode, Listing, Pair, read_listing, walk
from prov.worktree.parallel import by_turns
from prov.worktree.placer import EPOCH_NS, ObjectReader, Placer, PrivatePlacer, set_owner

PROGRAMS = (b"bin", b"sbin", b"libexec")
"""Folders to check out last."""
SHARE_FROM = 128
"""The number of queued folders from which a second process shares the work."""
CROWD = 250
"""The maximum number of files of one folder in one piece of work."""


_NO_NAMES = frozenset((b"", b".", b".."))


def check_name(name: bytes) -> None:
    """Raise CheckoutError for an invalid name, such as one that leads out of its directory."""
    if b"/" in name or name in _NO_NAMES or b"\0" in name:
        raise CheckoutError(f"invalid name {os.fsdecode(name)!r} in a tree", hint=CHECK_STORE)


def check_names(names: Collection[bytes]) -> None:
    """Raise CheckoutError if any name is invalid, except for `.`, the folder's own entry."""
    # one search for all names, since a sysroot has tens of thousands
    text = b"/".join(names)
    is_valid = b"\0" not in text and text.count(b"/") == max(0, len(names) - 1)
    if is_valid and b"" not in names and b".." not in names:
        return
    for name in names:
        if name != b".":
            check_name(name)


_Group = tuple[object, ...]
"""The files to hardlink with each other: their label and content."""


class _Folder(NamedTuple):
    """A folder on disk, with its present and its target content."""

    path: bytes
    now: Pair | None
    """None for an empty folder."""
    target: Pair
    files: tuple[tuple[bytes, FileNode], ...] = ()
    """The only files left to place, if this is a piece of a crowded folder."""

    @property
    def prefix(self) -> bytes:
        return self.path + b"/" if self.path else b""


class FolderPlan(NamedTuple):
    """The changes to the entries of one folder, in this order."""

    removed: list[tuple[bytes, FileNode]]
    """Present entries to remove, including those that `files` replace."""
    dated: list[tuple[bytes, FileNode]]
    """Files of which only the mtime changes."""
    files: list[tuple[bytes, FileNode]]
    """New entries other than folders."""
    folders: list[tuple[bytes, FileNode | None, FileNode]]
    """Name, present and target entry of each folder to create or change."""


def plan_folder(now: Listing, target: Listing, *, shared_inodes: bool) -> FolderPlan:
    """Return the changes that turn one listing into another, except for `.`.

    With `shared_inodes`, other directories share the files, so no mtime is changed. Raises
    CheckoutError for an invalid name.
    """
    check_names(target.keys())
    removed = [(name, now[name]) for name in now.keys() - target.keys()]
    plan = FolderPlan(removed, [], [], [])
    for name, node in target.items():
        present = now.get(name)
        if present == node or name == b".":
            continue
        if node.mode & FILE_TYPE == stat.S_IFDIR:
            plan.folders.append((name, present, node))
        elif present is None:
            plan.files.append((name, node))
        elif not shared_inodes and not node.link and present.same_content == node.same_content:
            plan.dated.append((name, node))
        else:
            plan.removed.append((name, present))
            plan.files.append((name, node))
    return plan


class _Work(NamedTuple):
    """The result of one process's share of a checkout."""

    placed: int
    torn: set[bytes]
    programs: list[_Folder]
    closed: list[tuple[bytes, FileNode]]
    notes: list[tuple[bytes, str]]
    changed: list[bytes]
    created: list[bytes]
    removed: list[bytes]
    kept: list[bytes]


@dataclass(slots=True)
class _Checkout:
    objects: ObjectReader
    placer: Placer
    root: Path
    fresh: bool = False
    """True if this checkout creates the directory."""
    queues: bool = True
    """Queue new folders and crowds, for sharing between processes."""
    placed: int = 0
    new: deque[_Folder] = field(default_factory=deque)
    programs: list[_Folder] = field(default_factory=list)
    crowds: list[_Folder] = field(default_factory=list)
    closed: list[tuple[bytes, FileNode]] = field(default_factory=list)
    """Folders whose attributes are set last: crowded ones, and ones that exclude their owner."""
    torn: set[bytes] = field(default_factory=set)
    """Hardlink groups with a changed member."""
    changed: list[bytes] = field(default_factory=list)
    """Folders with changed entries or attributes, including the created ones."""
    created: list[bytes] = field(default_factory=list)
    """Created folders."""
    removed: list[bytes] = field(default_factory=list)
    """Folders removed with their content."""
    kept: list[bytes] = field(default_factory=list)
    """Folders to remove that still contain entries without a record."""

    # the order of the work

    def run(self, now: Pair, target: Pair) -> None:
        self.visit(_Folder(b"", now, target))
        self.work_off(self.new)
        self.new, self.programs = deque(self.programs), []
        self.work_off(self.new, programs=True)
        self.mend_links(target)
        # deepest first, since a folder that denies access also closes the folders below it
        for path, own in sorted(self.closed, key=lambda folder: -len(folder[0])):
            with self.opened(path) as fd:
                _finish(fd, own)

    def work_off(self, folders: deque[_Folder], *, programs: bool = False) -> None:
        """Check out the queued folders and their subfolders, in two processes if there are many."""
        single_processor = len(os.sched_getaffinity(0)) < 2
        while folders and (single_processor or len(folders) < SHARE_FROM):
            self.visit(folders.popleft())
            if programs:  # programs are the last step, so do not defer them again
                folders.extend(self.programs)
                self.programs = []
        work, self.crowds = [*folders, *self.crowds], []
        if single_processor or len(work) < 2:
            for folder in counted(work, "placing files"):
                self.visit(folder)
            return
        share = partial(self.share, len(self.placer.notes), programs=programs)
        own_work, child_work = by_turns(work, share, "placing files")
        self.placer.notes += child_work.notes
        for part in (own_work, child_work):
            self.placed += part.placed
            self.torn |= part.torn
            self.programs += part.programs
            self.closed += part.closed
            self.changed += part.changed
            self.created += part.created
            self.removed += part.removed
            self.kept += part.kept

    def share(self, notes_before: int, folders: Iterator[_Folder], *, programs: bool) -> _Work:
        """Check out one process's share of the folders; return its result.

        `notes_before` is the number of the placer's notes before the work was shared.
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
        return _Work(
            part.placed,
            part.torn,
            part.programs,
            part.closed,
            self.placer.notes[notes_before:],
            part.changed,
            part.created,
            part.removed,
            part.kept,
        )

    # one folder

    def visit(self, folder: _Folder) -> None:
        with self.opened(folder.path) as fd:
            if folder.files:
                self.place(fd, folder.prefix, folder.files)
            else:
                self.folder(fd, folder)

    def folder(self, fd: int, folder: _Folder) -> None:
        """Change a folder to its target, except for its queued subfolders."""
        prefix = folder.prefix
        now = read_listing(self.objects, folder.now) if folder.now is not None else {}
        target = read_listing(self.objects, folder.target)
        own = target[b"."]
        touched = now.get(b".") != own or (self.fresh and not prefix)
        touched |= _open_to_owner(fd)
        plan = plan_folder(now, target, shared_inodes=self.placer.shares)
        for name, node in plan.removed:
            self.remove(fd, prefix, name, node)
        for name, node in plan.dated:
            self.date(fd, name, node)
        crowded = self.queues and len(plan.files) > CROWD
        if crowded:
            self.queue_crowd(folder, plan.files)
        else:
            self.place(fd, prefix, plan.files)
        for name, present, node in plan.folders:
            touched |= self.enter(fd, prefix, name, present, node)
        if touched or plan.removed or plan.files:
            self.finish(fd, folder.path, own, last=crowded)

    def queue_crowd(self, folder: _Folder, files: list[tuple[bytes, FileNode]]) -> None:
        """Queue the files of a crowded folder in pieces that two processes can share."""
        for start in range(0, len(files), CROWD):
            self.crowds.append(folder._replace(files=tuple(files[start : start + CROWD])))

    def finish(self, fd: int, path: bytes, own: FileNode, *, last: bool = False) -> None:
        """Set a folder's own attributes, now or, if more will be written into it, last."""
        self.changed.append(path)
        if last or own.mode & stat.S_IRWXU != stat.S_IRWXU:
            self.closed.append((path, own))
        else:
            _finish(fd, own)

    def place(self, fd: int, prefix: bytes, files: Sequence[tuple[bytes, FileNode]]) -> None:
        """Place new entries other than folders."""
        self.placed += len(files)
        for name, node in files:
            if node.link and not self.placer.shares:
                _check_free(name, fd)
                self.torn.add(node.link)  # mend_links places it
            elif node.mode & FILE_TYPE == stat.S_IFREG:
                self.placer.place(node, prefix + name, fd)
            else:
                self.put(fd, prefix, name, node)

    def enter(
        self, fd: int, prefix: bytes, name: bytes, present: FileNode | None, node: FileNode
    ) -> bool:
        """Create a folder if needed, and change or queue it; return whether it was created."""
        is_new = present is None or not present.is_directory
        if is_new:
            if present is not None:
                self.remove(fd, prefix, name, present)
            os.mkdir(name, 0o755, dir_fd=fd)
            self.created.append(prefix + name)
        now = None if present is None or is_new else present.pair
        folder = _Folder(prefix + name, now, node.pair)
        if name in PROGRAMS:
            self.programs.append(folder)
        elif (is_new and self.queues) or prefix.count(b"/") % MOST_OPEN == MOST_OPEN - 1:
            self.new.append(folder)
        else:
            inside = open_folder(name, fd)
            try:
                self.folder(inside, folder)
            finally:
                os.close(inside)
        return is_new

    def remove(self, fd: int, prefix: bytes, name: bytes, node: FileNode) -> None:
        path = prefix + name
        inside: list[tuple[bytes, FileNode]] = []
        if not self.placer.shares:
            inside = walk(self.objects, node.pair, path=path + b"/") if node.is_directory else []
            nodes = [node, *(below for _, below in inside)]
            self.torn.update(member.link for member in nodes if member.link)
        if not node.is_directory:
            os.unlink(name, dir_fd=fd)
        elif self.placer.shares:  # prov owns a sysroot and all files in it
            remove_entry(name, fd)
            self.removed.append(path)
        elif self.clear(fd, path, node.pair, inside):
            self.removed.append(path)
        else:
            self.kept.append(path)

    def clear(
        self, fd: int, path: bytes, pair: Pair, inside: Sequence[tuple[bytes, FileNode]]
    ) -> bool:
        """Delete the recorded entries of a folder, and each folder that is then empty.

        `fd` is the folder's parent, and `inside` all entries. Returns whether the folder itself was
        deleted. It stays if it contains other entries: excluded paths.
        """
        top = path.count(b"/")
        for below, node in reversed(inside):  # deepest first, to limit the number of open folders
            if node.is_directory and (below.count(b"/") - top) % MOST_OPEN == 0:
                parent, _, name = below.rpartition(b"/")
                with self.opened(parent) as folder:
                    _open_to_owner(folder)
                    self.clear_folder(folder, name, node.pair)
        return self.clear_folder(fd, path.rpartition(b"/")[2], pair)

    def clear_folder(self, fd: int, name: bytes, pair: Pair, level: int = 0) -> bool:
        """Clear a folder down to the level from which `clear` has cleared the folders."""
        if level < MOST_OPEN:
            try:
                inside = open_folder(name, fd)
            except FileNotFoundError:
                return True
            try:
                _open_to_owner(inside)
                for entry, node in read_listing(self.objects, pair).items():
                    if node.is_directory and entry != b".":
                        self.clear_folder(inside, entry, node.pair, level + 1)
                    elif entry != b".":
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(entry, dir_fd=inside)
            finally:
                os.close(inside)
        return _removed(name, fd)

    def date(self, fd: int, name: bytes, node: FileNode) -> None:
        mtime = EPOCH_NS if node.mtime is None else node.mtime
        os.utime(name, ns=(mtime, mtime), dir_fd=fd, follow_symlinks=False)

    def put(self, fd: int, prefix: bytes, name: bytes, node: FileNode) -> None:
        if node.mode & FILE_TYPE == stat.S_IFREG:
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
                f"{os.fsdecode(prefix + name)}: only root can create this device node",
                hint="run prov as root or under fakeroot",
            ) from error
        set_owner(node, name, fd)
        set_mode(name, stat.S_IMODE(node.mode), fd)
        self.date(fd, name, node)

    # hardlinks

    def mend_links(self, target: Pair) -> None:
        """Place all members of every changed hardlink group again."""
        if not self.torn:
            return
        folders: dict[bytes, list[tuple[bytes, FileNode]]] = {}
        for path, node in walk(self.objects, target):
            if node.link and node.link in self.torn:
                folder, _, name = path.rpartition(b"/")
                folders.setdefault(folder, []).append((name, node))
        first: dict[_Group, bytes] = {}
        for folder, members in folders.items():
            with self.opened(folder) as fd:
                _open_to_owner(fd)
                for name, node in members:
                    self.mend_link(fd, folder + b"/" if folder else b"", name, node, first)
                own = read_listing(self.objects, _pair_at(self.objects, target, folder))[b"."]
                self.finish(fd, folder, own)

    def mend_link(
        self, fd: int, prefix: bytes, name: bytes, node: FileNode, first: dict[_Group, bytes]
    ) -> None:
        """Place one member of a hardlink group: the first as a file, others as links to it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        group = (node.link, node.same_file)  # members with different content cannot share an inode
        if group in first:
            folder, _, source = first[group].rpartition(b"/")
            with self.opened(folder) as start:
                os.link(source, name, src_dir_fd=start, dst_dir_fd=fd, follow_symlinks=False)
        else:
            self.put(fd, prefix, name, node)
            first[group] = prefix + name

    @contextlib.contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        """Open a folder below the root without following links."""
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


def _open_to_owner(fd: int) -> bool:
    """Give the owner full access to a folder; return whether its mode changed."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode & stat.S_IRWXU == stat.S_IRWXU:
        return False
    os.fchmod(fd, stat.S_IRWXU)
    return True


def _check_free(name: bytes, fd: int) -> None:
    """Raise FileExistsError if a folder has an entry of this name."""
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=fd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _removed(name: bytes, fd: int) -> bool:
    """Delete an empty folder; return False for a folder with content."""
    try:
        os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _finish(fd: int, own: FileNode) -> None:
    """Set a folder's own attributes, after the last write into it."""
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
    target: Pair,
    *,
    now: Pair = EMPTY,
    placer: Placer | None = None,
    folders: set[bytes] | None = None,
    changed: set[bytes] | None = None,
    kept: list[bytes] | None = None,
) -> int:
    """Change a directory from `now` to `target`; return the number of placed files and links.

    The cost is proportional to the difference. `folders`, the paths of all folders in the
    directory, is updated; the paths of those with changed entries or attributes are added to
    `changed`. If the process is killed, the directory is in a mixed state: capture it and call this
    again.

    Entries that are not in `now` (excluded paths) stay unchanged, except if the placer shares
    files. A folder to delete that contains such entries stays too, and its path is added to `kept`.
    Raises CheckoutError, also if such an entry is in the place of an entry of `target`.
    """
    work = _Checkout(
        objects, placer or PrivatePlacer(objects), directory, fresh=not directory.exists()
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        work.root = directory.resolve()  # only the directory itself can be a symlink
        work.run(now, target)
    except (OSError, RecursionError, ValueError, OverflowError) as error:
        raise _cannot_write(directory, error) from error
    if changed is not None:
        changed.update(work.changed)
    if kept is not None:
        kept += work.kept
    if folders is not None:
        tops = tuple(path + b"/" for path in work.removed)
        if tops:
            folders -= {path for path in folders if (path + b"/").startswith(tops)}
        folders.update(work.created)
    return work.placed


def checkout_new(
    objects: ObjectReader, directory: Path, target: Pair, *, placer: Placer | None = None
) -> int:
    """Check out a tree at a free path or in an empty folder; return the number of placed files.

    At a free path, the directory is written under a temporary name beside it and renamed when it is
    complete. Raises CheckoutError.
    """
    if os.path.lexists(directory):
        return checkout(objects, directory, target, placer=placer)
    beside = directory.with_name(temporary_name(directory.name))
    try:
        _remove_leftovers(directory)
        placed = checkout(objects, beside, target, placer=placer)
        beside.rename(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove_tree(beside)
        if isinstance(error, CheckoutError):
            raise CheckoutError(
                str(error).replace(str(beside), str(directory)), hint=error.hint
            ) from error
        if isinstance(error, OSError):
            raise _cannot_write(directory, error) from error
        raise
    return placed


def _cannot_write(directory: Path, error: Exception) -> CheckoutError:
    if isinstance(error, FileExistsError):
        return CheckoutError(
            f"cannot write {directory}: {error}; the existing file or folder is not recorded",
            hint="move it away, then run the command again",
        )
    return CheckoutError(
        f"cannot write {directory}: {error}",
        hint="free disk space or fix permissions, then run the command again",
    )


def _remove_leftovers(directory: Path) -> None:
    """Remove temporary directories that killed processes left beside a directory."""
    start = temporary_name(directory.name).split(".")[1]
    for path in directory.parent.glob(f".{start}.*.tmp"):
        pid = path.name.removesuffix(".tmp").rpartition(".")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            remove_tree(path)
