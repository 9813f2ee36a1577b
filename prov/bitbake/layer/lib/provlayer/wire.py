"""How a task speaks to the writer: one request on one connection, a line of JSON each way, and a
body if there is one.

The writer sends a space now and then while it is at work, so that a task can tell a busy writer
from a dead one.
"""

import json
import os
import socket
import time

SILENCE = 120
"""Seconds without a sign of life after which a writer is taken to be dead."""
PATIENCE = 15
"""Seconds for a writer that crashed to be started again."""


def address(path):
    """Return an open directory, and the path below it by which a socket is reached.

    A socket's path may have 107 bytes, and build directories are often deeper.
    """
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return fd, f"/proc/self/fd/{fd}/{name}"


def connect(path):
    """Return a connection to the writer, None where there is none.

    Raises OSError for one that does not come back.
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
    """Send a request and return the answer, None where there is no writer. Raises OSError."""
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
                raise OSError("the writer broke off")
            answer += piece
    # the writer may answer once more, when the record is complete
    return json.loads(answer.partition(b"\n")[0])
