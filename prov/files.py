"""What every floor needs of the file system: durable writes and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import marshal
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prov.errors import ProvError

_ACL, _DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of what is done with a file by its descriptor name the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_scratch(path: Path, text: str) -> None:
    """Write a small file that nobody misses; an error names it."""
    with naming(path):
        path.write_text(text)


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


def drop_default_acl(path: Path) -> bool:
    """Keep a folder from handing its default ACL on to what is made in it; return whether it had one.

    What inherits an ACL has other modes than it was made with, and can't be copied where its users are unknown.
    """
    try:
        os.removexattr(path, _DEFAULT_ACL)
    except OSError:  # it has none, the file system knows none, or it is another user's
        return False
    return True


def drop_acls(top: Path) -> None:
    """Drop the ACLs of everything in a folder, if that folder has a default one, which all in it inherited."""
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

    The temporary name is unique to the process: two writers don't meet, the last one wins.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with naming(path), os.fdopen(fd, "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(path.parent)


def write_cache(path: Path, value: Any) -> None:
    """Keep a value, of what marshal takes, that can be made again. It is not synced."""
    data = marshal.dumps(value)
    replace_file(path, hashlib.sha1(data).digest() + data, durable=False)


def read_cache(path: Path) -> Any:
    """Return what `write_cache` kept; None if it is not there as it was written, since a power cut may tear it."""
    try:
        data = memoryview(path.read_bytes())
    except OSError:
        return None
    return marshal.loads(data[20:]) if hashlib.sha1(data[20:]).digest() == data[:20] else None


def status(path: Path) -> os.stat_result | None:
    """Return what lstat says of a file; None if it is not there, as when another process removes what was listed."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that the kernel drops with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Like `locked`, without waiting: yields whether the lock was free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            held = False
        yield held
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it, also where a task left folders without write permission."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        for folder, names, _files in os.walk(path):
            os.chmod(folder, 0o700)
            for name in names:
                if not os.path.islink(os.path.join(folder, name)):
                    os.chmod(os.path.join(folder, name), 0o700)
        shutil.rmtree(path)


def size_text(size: int) -> str:
    """Return a number of bytes as people read it: `1.4 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def parse_size(text: str) -> int:
    """Return the bytes that a size as people write it stands for: `500M`, `20G`. Raises ProvError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ProvError(f"{text!r} is no size", hint="as in 500M or 20G")
    return int(float(match[1]) * _UNITS[match[2].upper()])
