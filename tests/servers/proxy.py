"""A bad line: a TCP proxy on loopback that counts bytes, delays them, and closes connections.

It runs in threads of the test and counts TCP bytes of any protocol. Its limits can be changed while
it runs, so a test can break the line and repair it.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 16384


@dataclass(slots=True)
class Line:
    """The settings and counters of a line."""

    port: int
    """The address for clients."""
    to: int
    """The server's port."""
    cut_after: int | None = None
    """Close a connection after this many bytes to the client, which are still sent."""
    cut_after_up: int | None = None
    """The same for bytes to the server."""
    delay: float = 0.0
    """Delay of each chunk in seconds; a chunk has at most `chunk` bytes."""
    chunk: int = CHUNK
    connections: int = 0
    cuts: int = 0
    down: int = 0
    """Bytes to clients, over all connections."""
    up: int = 0
    """Bytes to the server."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the listener was closed
                return
            self.connections += 1
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client: socket.socket) -> None:
        """Copy bytes in both directions until both sides close, or the line is cut."""
        with (
            client,
            socket.socket() as server,
            suppress(OSError),
        ):  # pass a reset on to the other side
            server.connect(("127.0.0.1", self.to))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = {client: server, server: client}
            gone = {client: 0, server: 0}
            while ways:
                for source in select.select(list(ways), [], [])[0]:
                    limit = self.cut_after if source is server else self.cut_after_up
                    data = source.recv(self.chunk)
                    if not data:
                        ways.pop(source).shutdown(socket.SHUT_WR)
                        continue
                    time.sleep(self.delay)
                    fits = len(data) if limit is None else max(0, limit - gone[source])
                    ways[source].sendall(data[:fits])
                    gone[source] += len(data)
                    self.count(min(fits, len(data)), down=source is server, cut=fits < len(data))
                    if fits < len(data):
                        return

    def count(self, size: int, *, down: bool, cut: bool) -> None:
        with self.lock:
            self.down += size if down else 0
            self.up += 0 if down else size
            self.cuts += cut


@contextmanager
def proxy(
    to: int,
    *,
    cut_after: int | None = None,
    cut_after_up: int | None = None,
    delay: float = 0.0,
    chunk: int = CHUNK,
) -> Iterator[Line]:
    """Put a line in front of a server's port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(listener.getsockname()[1], to, cut_after, cut_after_up, delay, chunk)
        thread = threading.Thread(target=line.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield line
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close alone does not
            thread.join()
