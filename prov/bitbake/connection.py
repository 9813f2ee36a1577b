"""The Unix socket between tasks and the writer: one request and one answer per connection."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from prov.bitbake.messages import InvalidMessage

BREATH = 10.0
"""Seconds between heartbeats to waiting tasks, and to wait for the rest of a request."""
HEADER = 1 << 20
"""Maximum size of a request's first line, in bytes."""


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at a path of any length.

    Replaces a socket that a killed writer left at the path.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = f"{path.name}.{os.getpid()}"
    try:
        umask = os.umask(0o077)
        try:
            listening.bind(f"/proc/self/fd/{folder}/{beside}")
        finally:
            os.umask(umask)
        listening.listen(256)
        os.rename(path.with_name(beside), path)
    finally:
        os.close(folder)
    return listening


def read_header(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the first line of a request, and the part of its body received with it.

    Raises OSError, and InvalidMessage if the line does not end within HEADER bytes.
    """
    data = b""
    while b"\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece or len(data) > HEADER:
            raise InvalidMessage("invalid request: the first line has no newline")
        data += piece
    line, _, rest = data.partition(b"\n")
    return line, rest


def read_body(connection: socket.socket, start: bytes, size: int) -> bytes:
    """Return the body of a request, whose first bytes are `start`.

    Raises OSError, and InvalidMessage for a body shorter than `size` bytes.
    """
    data = bytearray(start)
    while len(data) < size:
        piece = connection.recv(1 << 20)
        if not piece:
            raise InvalidMessage(
                f"invalid request: the body ends after {len(data)} of {size} bytes"
            )
        data += piece
    return bytes(data)


def send_answer(connection: socket.socket, answer: Mapping[str, object]) -> None:
    """Send the answer to a request and close the connection, even if the task was killed."""
    with contextlib.suppress(OSError), connection:
        connection.sendall(json.dumps(answer).encode() + b"\n")
