"""Read the files of a capture: store their content, which was in the directory at one time.

A file that changes while it is read is read again; if it keeps changing, the capture fails.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence

from prov.errors import CaptureError, UnreadableError
from prov.files import set_mode, within_reach
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.packs import STREAM_CHUNK
from prov.worktree.attributes import FILE_TYPE
from prov.worktree.folders import ScannedFile

CHANGED = -1
"""A ctime that no file has, so that the next capture reads the file again."""
STREAM_FROM = 16 << 20
"""Size in bytes from which files are read in chunks."""
READ_AGAIN = 5
REPLACED = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENXIO,
    errno.ESTALE,
)
"""Errors of reading a file deleted or replaced by another type of entry since the scan."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

Read = tuple[Oid, ScannedFile]


def read_files(
    prefix: bytes, files: Sequence[ScannedFile], writer: ObjectWriter, *, live: bool
) -> Iterator[Read | None]:
    """Store the content of a folder's files; yield each one's id and its stat at that time.

    `prefix` is the folder's path with a slash. Yields None if the directory is live and the file
    vanished or keeps changing. Raises CaptureError for such a file otherwise, and UnreadableError.
    """
    for file in files:
        oid = _read_plainly(prefix + file.name, file, writer)
        if oid is not None:
            yield oid, file
        else:
            yield _read_file(prefix + file.name, file, writer, live=live)


def _read_plainly(path: bytes, file: ScannedFile, writer: ObjectWriter) -> Oid | None:
    """Read a small file or a link in the fewest system calls.

    Returns None if that fails, or if the file has changed since the scan.
    """
    _, mode, inode, size, mtime, ctime = file
    try:
        if mode & FILE_TYPE != stat.S_IFREG:
            data = os.readlink(path)
        elif size < STREAM_FROM:
            fd = os.open(path, _OPEN)
            try:
                data = os.read(fd, size + 1)
                state = os.fstat(fd)
            finally:
                os.close(fd)
            # this stat is newer than the content and equals the scan's: no write came in between
            if (
                len(data) != size
                or state.st_ctime_ns != ctime
                or state.st_mtime_ns != mtime
                or state.st_ino != inode
            ):
                return None
        else:
            return None
    except OSError:  # `_read_file` knows what to do
        return None
    return writer.add_blob(data)


def _seen_now(name: bytes, state: os.stat_result) -> ScannedFile:
    return ScannedFile(
        name, state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    )


def _read_file(path: bytes, file: ScannedFile, writer: ObjectWriter, *, live: bool) -> Read | None:
    """Store a file's content; return its id and the stat at that time.

    Returns None if the directory is live and the file vanished or keeps changing.
    """
    try:
        return _read_reached(path, file, writer, live=live)
    except FileNotFoundError:  # its folder vanished
        if live:
            return None
        raise


def _read_reached(
    path: bytes, file: ScannedFile, writer: ObjectWriter, *, live: bool
) -> Read | None:
    with within_reach(path) as near:
        try:
            return _read_near(near, file, writer)
        except CaptureError:  # it keeps changing
            if live:
                return None
            raise
        except FileNotFoundError as error:
            if live:
                return None
            raise CaptureError(
                f"{os.fsdecode(path)} was deleted while it was captured",
                hint="stop the process that writes there",
            ) from error
        except OSError as error:
            if error.filename not in (None, near):  # a failed write to the pack
                raise
            if live and error.errno in REPLACED:
                return None
            raise UnreadableError(
                f"cannot read {os.fsdecode(path)}: {error.strerror}",
                path,
                hint="give its owner read permission, or exclude it",
            ) from error


def _read_near(path: bytes, file: ScannedFile, writer: ObjectWriter) -> Read:
    if stat.S_ISLNK(file.mode):
        return writer.add_blob(os.readlink(path)), file
    try:
        return _read_regular(path, file, writer)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        set_mode(path, stat.S_IRUSR, add=True)
    try:
        oid, now = _read_regular(path, file._replace(ctime=CHANGED), writer)
    finally:
        set_mode(path, mode)
    # restoring the mode changed the ctime
    return oid, now._replace(ctime=os.lstat(path).st_ctime_ns)


def _read_regular(path: bytes, file: ScannedFile, writer: ObjectWriter) -> Read:
    for _ in range(READ_AGAIN):
        oid, now = _read_once(path, file, writer)
        if oid is not None:
            return oid, now
        file = now
    raise CaptureError(
        f"{os.fsdecode(path)} keeps changing while it is read",
        hint="stop the process that writes to it, or exclude it",
    )


def _read_once(
    path: bytes, file: ScannedFile, writer: ObjectWriter
) -> tuple[Oid | None, ScannedFile]:
    fd = os.open(path, _OPEN)
    try:
        start = _seen_now(file.name, os.fstat(fd))
        if start.size >= STREAM_FROM:
            oid = _stream(fd, start.size, writer)
        else:
            data = os.read(fd, start.size + 1)
            while len(data) < start.size and (more := os.read(fd, start.size + 1 - len(data))):
                data += more
            oid = writer.add_blob(data) if len(data) == start.size else None
        end = _seen_now(file.name, os.fstat(fd))
        # the scan's mode can be fakeroot's; a new one on disk changes the next scan
        now = end._replace(mode=file.mode)
        # if the file has changed meanwhile, the added blob stays unreferenced
        return (oid, now) if end == start else (None, now)
    finally:
        os.close(fd)


def _stream(fd: int, size: int, writer: ObjectWriter) -> Oid | None:
    digest, remaining = hashlib.sha1(b"blob %d\0" % size), size
    while chunk := os.read(fd, STREAM_CHUNK):
        digest.update(chunk)
        remaining -= len(chunk)
    if remaining:
        return None
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(os.dup(fd), "rb") as source:
        return digest.digest() if writer.add_blob_stream(digest.digest(), size, source) else None
