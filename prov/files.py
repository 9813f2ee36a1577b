"""What every floor needs of the file system: durable writes and locks between processes."""

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
    """Let an error of what is done with a file by its descriptor name the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None or isinstance(error.filename, int):
            error.filename = str(path)
        raise


_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create_file(name: str | Path, *, folder: int | None = None, mode: int = 0o666) -> int:
    """Create a file in place of what is there, and return its descriptor, open for reading and
    writing.

    A link in its place is removed and not followed: another user, or a task, may have put it there.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    return os.open(name, os.O_RDWR | _NEW, mode, dir_fd=folder)


def write_scratch(path: Path, text: str) -> None:
    """Write a small file that nobody misses, in place of what is there; an error names it."""
    replace_file(path, text.encode("utf-8", "surrogateescape"), durable=False)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are not there, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_directory(folder.parent)


def make_private(path: Path) -> None:
    """Make a folder, if need be, and close it to other users.

    A task may make programs in it that run as whoever builds.
    """
    path.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        close_to_others(fd)
    finally:
        os.close(fd)


def close_to_others(folder: int) -> None:
    """Close an open folder to other users, if it is this user's."""
    state = os.fstat(folder)
    if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and state.st_uid == os.geteuid():
        os.fchmod(folder, state.st_mode & stat.S_IRWXU)


def drop_default_acl(path: Path) -> bool:
    """Keep a folder from handing its default ACL on to what is made in it; return whether it had
    one.

    What inherits an ACL has other modes than it was made with, and can't be copied where its users
    are unknown.
    """
    try:
        os.getxattr(path, _DEFAULT_ACL)  # removing one that is not there succeeds, too
        os.removexattr(path, _DEFAULT_ACL)
    except OSError:  # it has none, the file system knows none, or another user owns it
        return False
    return True


def drop_acls(top: Path) -> None:
    """Drop the ACLs of everything in a folder, if that folder has a default one, which all in it
    inherited.
    """
    if not drop_default_acl(top):
        return
    for folder, _names, files in os.walk(top):
        drop_default_acl(Path(folder))
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.removexattr(path, _ACL)


def replace_file(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    The temporary name is unique to the process: two writers don't meet, the last one wins. It is no
    longer than the file's own may be.
    """
    temporary = temporary_name(path.name)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # a killed process with our number may have left one
        fd = create_file(temporary, folder=folder, mode=mode)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
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
    """Keep a value, of what marshal takes, that can be made again.

    It is not synced, and kept for this user alone.
    """
    data = marshal.dumps(value)
    digest = keyed_digest(purpose(path) + data)
    if digest is not None:
        replace_file(path, digest + data, durable=False)


def read_cache(path: Path) -> Any:
    """Return what `write_cache` kept; None if it is not there as this user wrote it.

    A power cut may tear it, and a store may come from somebody else: marshal must not read what
    they wrote.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError:
        return None
    digest, content = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
    return marshal.loads(content) if is_own(purpose(path) + bytes(content), bytes(digest)) else None


def purpose(path: Path) -> bytes:
    """Return what the digest of a cache begins with: a file is read under its own name alone."""
    return b"cache %s\0" % os.fsencode(path.name)


def status(path: Path) -> os.stat_result | None:
    """Return what lstat says of a file; None if it is not there, as when another process removes
    what was listed.
    """
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that the kernel drops with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Like `locked`, without waiting: yields whether the lock was free."""
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
    """Return a name for what becomes a file called `name`: this process's own, and short however
    long that one is.
    """
    return f".{hashlib.sha1(os.fsencode(name)).hexdigest()[:12]}.{os.getpid()}.tmp"


# folders of any depth, with any modes

LONGEST_PATH = 3500
"""In bytes: the kernel takes paths of 4,095, and a name may be added."""
MOST_OPEN = 32
"""Folders that are open at once while a tree is removed."""


def set_mode(
    name: bytes | str | Path, mode: int, folder: int | None = None, *, add: bool = False
) -> None:
    """Set, or `add` to, the permissions of a file or folder, following no link.

    Raises PermissionError for others'.
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
    """Open a folder, following no link in its place; one that its owner may not read is made
    readable first.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        set_mode(name, stat.S_IRWXU, folder, add=True)
        return os.open(name, flags, dir_fd=folder)


@contextlib.contextmanager
def within_reach(path: bytes) -> Iterator[bytes]:
    """Yield a path of the same file that is short enough for the kernel: the path itself, or one
    through /proc.
    """
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
    """Open a folder whose path is longer than the kernel takes, piece by piece."""
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
    """Remove a file, or a folder with all that is in it, however deep it is and whatever its modes
    are.

    Raises OSError for what can't be removed: another user's files, places where something is
    mounted.
    """
    folder = open_folder(path.parent)
    try:
        with naming(path):
            remove_entry(os.fsencode(path.name), folder)
    finally:
        os.close(folder)


def remove_entry(name: bytes, folder: int) -> None:
    """Do as `remove_tree` does, for a name in an open folder."""
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
            else:  # moved up, so that no more are open
                set_mode(entry, stat.S_IRWXU, top.fd, add=True)
                near = b".prov-removed.%d.%d" % (os.getpid(), time.monotonic_ns())
                os.rename(entry, near, src_dir_fd=top.fd, dst_dir_fd=open_folders[0].fd)
                open_folders[0].names.append(near)
    finally:
        for opened in open_folders:
            os.close(opened.fd)


def _unlinked(name: bytes, folder: int) -> bool:
    """Remove a file; return false for a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    return True


@dataclass(slots=True)
class _Emptied:
    """An open folder that is being emptied, and what is left in it."""

    name: bytes
    fd: int
    names: list[bytes]

    @staticmethod
    def begin(name: bytes, folder: int) -> _Emptied:
        fd = open_folder(name, folder)
        try:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                with contextlib.suppress(PermissionError):  # it may be empty
                    os.fchmod(fd, mode | stat.S_IRWXU)
            return _Emptied(name, fd, [os.fsencode(entry) for entry in os.listdir(fd)])
        except BaseException:
            os.close(fd)
            raise
