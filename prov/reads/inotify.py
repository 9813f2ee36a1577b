"""Calls of the kernel's inotify (inotify(7)), which reports events in watched folders."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from typing import Final

# of linux/inotify.h
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000
IN_DONT_FOLLOW = 0x02000000
IN_ISDIR = 0x40000000

EVENT = struct.Struct("iIII")
"""The watch, the kinds of event, cookie, and the number of bytes of the name that follows."""
_LARGEST_EVENT = EVENT.size + 256
_BUFFER = 1 << 16
_LIMITS: Final = {
    errno.ENOSPC: "more folders than fs.inotify.max_user_watches allows",
    errno.EMFILE: "more inotify instances than fs.inotify.max_user_instances allows",
}

_libc = ctypes.CDLL(None, use_errno=True)


def open_instance() -> int:
    """Return the descriptor of a new inotify instance. Raises OSError."""
    number = int(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    if number < 0:
        raise _last_error()
    return number


def add_watch(instance: int, path: bytes, mask: int) -> int:
    """Watch a folder, and return the number of the watch. Raises OSError."""
    number = int(_libc.inotify_add_watch(instance, path, mask))
    if number < 0:
        raise _last_error()
    return number


def remove_watch(instance: int, number: int) -> None:
    """Remove a watch, which queues an event; do nothing if it does not exist."""
    _libc.inotify_rm_watch(instance, number)


def queued(instance: int) -> Iterator[bytes]:
    """Yield the events in the kernel's queue, several at a time, and remove them from it."""
    size = _BUFFER
    # a read returns less than it could only if no event is left
    while size > _BUFFER - _LARGEST_EVENT:
        try:
            data = os.read(instance, _BUFFER)
        except BlockingIOError:
            return
        yield data
        size = len(data)


def split_events(data: bytes) -> Iterator[bytes]:
    """Yield each event of those that `queued` yields together."""
    at = 0
    while at < len(data):
        end = at + EVENT.size + EVENT.unpack_from(data, at)[3]
        yield data[at:end]
        at = end


def watch_problem(error: OSError) -> str:
    """Return why a folder cannot be watched, for a list of reads."""
    return _LIMITS.get(error.errno or 0, f"cannot watch a folder: {error.strerror}")


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
