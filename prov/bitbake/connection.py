"""The socket at which tasks reach the writer: one request and one answer on a connection."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from prov.bitbake.messages import InvalidMessage

HEADER = 1 << 20
"""Bytes that a request's first line may have."""


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at a path of any length.

    A socket that a killed writer left there is replaced.
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
    """Return the first line of a request, and what came of its body with that.

    Raises OSError, and InvalidMessage for a line without an end.
    """
    data = b""
    while b"\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece or len(data) > HEADER:
            raise InvalidMessage("invalid request: its first line has no end")
        data += piece
    line, _, rest = data.partition(b"\n")
    return line, rest


def read_body(connection: socket.socket, start: bytes, size: int) -> bytes:
    """Return the body of a request, of which `start` was read before.

    Raises OSError, and InvalidMessage for a body that is shorter than `size` bytes.
    """
    data = bytearray(start)
    while len(data) < size:
        piece = connection.recv(1 << 20)
        if not piece:
            raise InvalidMessage(f"invalid request: its body ends after {len(data)} bytes")
        data += piece
    return bytes(data)


def send_answer(connection: socket.socket, answer: Mapping[str, object]) -> None:
    """Answer a request, and close the connection. A task that was killed gets no answer."""
    with contextlib.suppress(OSError), connection:
        connection.sendall(json.dumps(answer).encode() + b"\n")
