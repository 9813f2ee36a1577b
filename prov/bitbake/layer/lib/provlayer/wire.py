"""Send a task's requests to the writer: one connection per request, a line of JSON in each
direction, and an optional body after the request.

While the writer works it sends a space as heartbeat, by which a task can distinguish a busy writer
from a dead one.
"""

import json
import os
import socket
import time

SILENCE = 120
"""Seconds without a heartbeat after which the writer is assumed to be dead."""
PATIENCE = 15
"""Seconds to wait for a crashed writer to be restarted."""


def address(path):
    """Return a descriptor of a socket's directory, and a short path of the socket through it.

    The path of a socket is limited to 107 bytes, and build directories often have longer ones.
    """
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return fd, f"/proc/self/fd/{fd}/{name}"


def connect(path):
    """Return a connection to the writer, or None if it has no socket.

    Raises OSError if a crashed writer is not restarted within PATIENCE seconds.
    """
    until = time.monotonic() + PATIENCE
    while True:
        if not os.path.exists(path):
            return None
        fd, short = address(path)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(short)
            connection.settimeout(SILENCE)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        finally:
            os.close(fd)


def ask(path, request, body=b""):
    """Send a request and return the answer, or None if there is no writer. Raises OSError."""
    connection = connect(path)
    if connection is None:
        return None
    with connection:
        head = dict(request, body=len(body))
        connection.sendall(json.dumps(head).encode() + b"\n" + body)
        answer = b""
        while b"\n" not in answer:
            piece = connection.recv(1 << 16)
            if not piece:
                raise OSError("the writer closed the connection")
            answer += piece
    # ignore a second answer, which the writer may send when the record is complete
    return json.loads(answer.partition(b"\n")[0])
