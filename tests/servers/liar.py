"""A web server that a test controls: answers without an end, too slow, with a wrong range, or with
a redirect.
"""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Answer = Callable[["Request"], None]


class Request(http.server.SimpleHTTPRequestHandler):
    """One request; `send` counts the bytes that the client accepted."""

    server: _Server

    def do_GET(self) -> None:
        liar = self.server.liar
        liar.seen.append((self.path, dict(self.headers.items())))
        with suppress(OSError):
            answer = next(
                (each for end, each in liar.answers.items() if self.path.endswith(end)), None
            )
            if answer is None:
                super().do_GET()
            else:
                answer(self)

    def begin(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.server.liar.sent += len(data)

    def send_endlessly(self, megabytes: int = 2000) -> None:
        for _ in range(megabytes):
            self.send(bytes(1 << 20))

    def wait(self) -> None:
        """Send nothing until the server ends."""
        self.server.liar.ended.wait()

    def log_message(self, *_words: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    liar: Liar
    daemon_threads = True


@dataclass(slots=True)
class Liar:
    """A running server. `answers` maps ends of paths to answers; other paths are files of the
    folder.
    """

    url: str
    port: int
    folder: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Paths and headers of all requests."""
    sent: int = 0
    """Bytes from `send` that clients accepted."""
    ended: threading.Event = field(default_factory=threading.Event)

    def passwords(self) -> list[str]:
        return [
            headers["Authorization"] for _path, headers in self.seen if "Authorization" in headers
        ]


@contextmanager
def liar(folder: Path, *, certificate: Path | None = None) -> Iterator[Liar]:
    """Run a server on loopback; with https if `certificate`, a file with certificate and key, is
    present.
    """

    def handler(*arguments: object) -> Request:
        return Request(*arguments, directory=str(folder))  # type: ignore[arg-type]

    server = _Server(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    port = server.server_address[1]
    server.liar = Liar(f"{scheme}://127.0.0.1:{port}", port, folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.liar
    finally:
        server.liar.ended.set()
        server.shutdown()
        server.server_close()
