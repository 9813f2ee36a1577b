"""Work with files: durable writes, caches, locks between processes, very deep folders."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import marshal
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prov.userkey import DIGEST_SIZE, is_own, keyed_digest

_ACL, _DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add a file's name to errors of operations on its descriptor."""
    try:
        yield
    except OSError as error:
        if error.filename is None or isinstance(error.filename, int):
            error.filename = str(path)
        raise


TICK_NS = 20_000_000
"""Twice the tick of the coarsest clock by which Linux dates files (10 ms at HZ=100)."""
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create_file(name: str | Path, *, folder: int | None = None, mode: int = 0o666) -> int:
    """Create a file, replacing an existing one; return its descriptor for reading and writing.

    An existing link is removed, not followed: another user or a task may have created it.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    return os.open(name, os.O_RDWR | _NEW, mode, dir_fd=folder)


def write_scratch(path: Path, text: str) -> None:
    """Write a small file without syncing it; an error names the file."""
    replace_file(path, text.encode("utf-8", "surrogateescape"), durable=False)


def sync_directory(path: Path) -> None:
    """Sync a directory, to make the names in it durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_directory(folder.parent)


def make_private(path: Path) -> None:
    """Create a folder if it is missing, and deny other users access to it.

    A task could create setuid programs in it, which other users could run as the building user.
    """
    path.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        close_to_others(fd)
    finally:
        os.close(fd)


def close_to_others(folder: int) -> None:
    """Deny other users access to an open folder, if this user owns it."""
    state = os.fstat(folder)
    if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and state.st_uid == os.geteuid():
        os.fchmod(folder, state.st_mode & stat.S_IRWXU)


def drop_default_acl(path: Path) -> bool:
    """Remove a folder's default ACL, which new entries would inherit; return whether it had one.

    An inherited ACL changes the modes of new files, and files with an ACL cannot be copied to a
    machine where the users in it are unknown.
    """
    try:
        os.getxattr(path, _DEFAULT_ACL)  # fails if there is none, unlike removexattr
        os.removexattr(path, _DEFAULT_ACL)
    except OSError:  # no ACL, a file system without ACLs, or another user's folder
        return False
    return True


def drop_acls(top: Path) -> None:
    """Remove all ACLs in a folder, if the folder has a default ACL, which its entries inherited."""
    if not drop_default_acl(top):
        return
    for folder, _names, files in os.walk(top):
        drop_default_acl(Path(folder))
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.removexattr(path, _ACL)


def replace_file(path: Path, *data: bytes, durable: bool = True, mode: int = 0o644) -> None:
    """Write a file atomically: after a crash, and for readers, it has its old or its new content.

    `data` are the parts of the new content.

    The temporary name is unique to the process, so two writers do not collide, and the last one
    wins. The temporary name is short, so the file's name can have the maximum length.
    """
    temporary = temporary_name(path.name)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # a killed process with the same pid can have left a file of this name
        fd = create_file(temporary, folder=folder, mode=mode)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.writelines(data)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        if durable:
            os.fsync(folder)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(folder)


def write_cache(path: Path, value: Any) -> None:
    """Write a value that marshal supports to a cache file.

    The file is not synced, and only the same user can read it back.
    """
    data = marshal.dumps(value)
    digest = keyed_digest(purpose(path), content=data)
    if digest is not None:
        replace_file(path, digest, data, durable=False)


def read_cache(path: Path) -> Any:
    """Return the value of a cache file, or None if it is missing or not as this user wrote it.

    A power cut can damage the file, and a store can come from another person, whose data marshal
    must not load.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError:
        return None
    digest, content = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
    is_valid = is_own(purpose(path), bytes(digest), content=content)
    return marshal.loads(content) if is_valid else None


def purpose(path: Path) -> bytes:
    """Return the prefix of a cache's digest, which makes a cache valid only under its own name."""
    return b"cache %s\0" % os.fsencode(path.name)


def status(path: Path) -> os.stat_result | None:
    """Return a file's lstat, or None if it does not exist (any more)."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it if the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Take a lock as `locked` does, but without waiting; yield whether the lock was free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            acquired = True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            acquired = False
        yield acquired
    finally:
        os.close(fd)


def temporary_name(name: str) -> str:
    """Return a temporary name for a file that will be renamed to `name`.

    It is unique to this process, and short even if `name` is long.
    """
    return f".{hashlib.sha1(os.fsencode(name)).hexdigest()[:12]}.{os.getpid()}.tmp"


# folders of any depth, with any modes

LONGEST_PATH = 3500
"""The maximum length in bytes of a path to open: the kernel's is 4,095, and a name may follow."""
MOST_OPEN = 32
"""The maximum number of folders open at once while a tree is removed."""


def set_mode(
    name: bytes | str | Path, mode: int, folder: int | None = None, *, add: bool = False
) -> None:
    """Set, or `add` to, the permissions of a file or folder, without following links.

    Raises PermissionError for another user's file.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        old = stat.S_IMODE(os.fstat(fd).st_mode) if add else 0
        os.chmod(f"/proc/self/fd/{fd}", old | mode)
    except OSError as error:
        error.filename = name
        raise
    finally:
        os.close(fd)


def open_folder(name: bytes | str | Path, folder: int | None = None) -> int:
    """Open a folder, not a link to one; if its owner cannot read it, make it readable first."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        set_mode(name, stat.S_IRWXU, folder, add=True)
        return os.open(name, flags, dir_fd=folder)


@contextlib.contextmanager
def within_reach(path: bytes) -> Iterator[bytes]:
    """Yield a path that is short enough for the kernel: the path itself, or one through /proc."""
    if len(path) < LONGEST_PATH:
        yield path
        return
    parent, _, name = path.rpartition(b"/")
    fd = _open_far(parent)
    try:
        yield b"/proc/self/fd/%d/%s" % (fd, name)
    finally:
        os.close(fd)


def _open_far(path: bytes) -> int:
    """Open a folder whose path is too long for the kernel, in several steps."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(b"/" if path.startswith(b"/") else b".", flags)
    parts = path.strip(b"/").split(b"/")
    while parts:
        piece = parts.pop(0)
        while parts and len(piece) + len(parts[0]) < LONGEST_PATH:
            piece += b"/" + parts.pop(0)
        try:
            inside = os.open(piece, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inside
    return fd


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with its content, of any depth and with any modes.

    Raises OSError for entries that cannot be removed, such as another user's files or mount points.
    """
    folder = open_folder(path.parent)
    try:
        with naming(path):
            remove_entry(os.fsencode(path.name), folder)
    finally:
        os.close(folder)


def remove_entry(name: bytes, folder: int) -> None:
    """Remove an entry of an open folder as `remove_tree` does."""
    if _unlinked(name, folder):
        return
    open_folders = [_Emptied.begin(name, folder)]
    try:
        while open_folders:
            top = open_folders[-1]
            if not top.names:
                open_folders.pop()
                os.close(top.fd)
                os.rmdir(top.name, dir_fd=open_folders[-1].fd if open_folders else folder)
                continue
            entry = top.names.pop()
            if _unlinked(entry, top.fd):
                continue
            if len(open_folders) < MOST_OPEN:
                open_folders.append(_Emptied.begin(entry, top.fd))
            else:  # move it up, to limit the number of open folders
                set_mode(entry, stat.S_IRWXU, top.fd, add=True)
                near = b".prov-removed.%d.%d" % (os.getpid(), time.monotonic_ns())
                os.rename(entry, near, src_dir_fd=top.fd, dst_dir_fd=open_folders[0].fd)
                open_folders[0].names.append(near)
    finally:
        for opened in open_folders:
            os.close(opened.fd)


def _unlinked(name: bytes, folder: int) -> bool:
    """Remove a file; return False for a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    return True


@dataclass(slots=True)
class _Emptied:
    """An open folder that is being emptied, and the names left in it."""

    name: bytes
    fd: int
    names: list[bytes]

    @staticmethod
    def begin(name: bytes, folder: int) -> _Emptied:
        fd = open_folder(name, folder)
        try:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                with contextlib.suppress(PermissionError):  # harmless if the folder is empty
                    os.fchmod(fd, mode | stat.S_IRWXU)
            return _Emptied(name, fd, [os.fsencode(entry) for entry in os.listdir(fd)])
        except BaseException:
            os.close(fd)
            raise
