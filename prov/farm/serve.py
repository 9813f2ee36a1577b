"""Serve exchanges to workers over HTTPS with mutual TLS.

git's own `upload-pack` and `receive-pack` answer; this module only passes their bytes on (protocol:
gitprotocol-http in git's documentation). The server is a process of its own.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

from prov.farm.credentials import Credentials
from prov.processes import start_fork
from prov.store.git import git_environment, git_program

_PATH = re.compile(
    r"/(?P<name>[0-9a-f]{16})/"
    r"(?:info/refs\?service=(?P<asked>git-(?:upload|receive)-pack)"
    r"|(?P<called>git-(?:upload|receive)-pack))"
)
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 10
PATIENCE = 60.0
"""Seconds without a byte after which a connection is closed."""


@contextmanager
def serving(folder: Path, credentials: Credentials, host: str, port: int = 0) -> Iterator[str]:
    """Serve the repositories in a folder to members of a farm; yield the base URL.

    Raises OSError if the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    number = listener.getsockname()[1]

    def serve() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _serve(listener, folder, credentials)

    pid = start_fork(serve)
    listener.close()
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    try:
        yield f"https://{shown}:{number}"
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def _serve(listener: socket.socket, folder: Path, credentials: Credentials) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(credentials.authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(credentials.certificate, credentials.key)

    class Handler(_Handler):
        top = folder
        tls = context

    server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    top: Path
    tls: ssl.SSLContext

    def setup(self) -> None:
        # here, in the connection's thread: a slow handshake delays no other client
        self.request.settimeout(PATIENCE)
        self.request = self.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the client is gone
            self.close_connection = True

    def do_GET(self) -> None:
        parts = _PATH.fullmatch(self.path)
        if parts is None or parts["asked"] is None:
            self.send_error(404)
            return
        service = parts["asked"]
        head = f"# service={service}\n".encode()
        head = f"{len(head) + 4:04x}".encode() + head + b"0000"
        kind = f"application/x-{service}-advertisement"
        self._run(parts["name"], service, kind, head, "--http-backend-info-refs")

    def do_POST(self) -> None:
        parts = _PATH.fullmatch(self.path)
        if parts is None or parts["called"] is None:
            self.send_error(404)
            return
        service = parts["called"]
        self._run(parts["name"], service, f"application/x-{service}-result", b"")

    def _run(self, name: str, service: str, kind: str, head: bytes, *options: str) -> None:
        """Answer with the output of one of git's services."""
        repository = self.top / name
        if not repository.is_dir():
            self.send_error(404)
            return
        command = [git_program(), "-c", "safe.directory=*", "-c", f"core.hooksPath={os.devnull}"]
        command += ["-c", "core.alternateRefsCommand=true", "-c", "receive.autogc=false"]
        command += [service.removeprefix("git-"), "--stateless-rpc", *options, str(repository)]
        variables = git_environment()
        version = self.headers.get("Git-Protocol", "")
        if re.fullmatch(r"version=[0-9]", version):
            variables["GIT_PROTOCOL"] = version
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            self._pass_request(process.stdin)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-cache")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._chunk(head)
            while data := process.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
                self._chunk(data)
            self.wfile.write(b"0\r\n\r\n")
        finally:
            process.stdout.close()
            process.kill()
            process.wait()

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _pass_request(self, target: IO[bytes]) -> None:
        """Copy the request's body to a process."""
        unpack = None
        if self.headers.get("Content-Encoding") == "gzip":
            unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            for data in self._body():
                target.write(unpack.decompress(data) if unpack else data)
            target.close()
        except BrokenPipeError:  # it has read enough
            self.close_connection = True

    def _body(self) -> Iterator[bytes]:
        """Yield the chunks of the request's body. Raises ValueError if it is malformed."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(_LONGEST_LINE), 16):
                yield from self._exactly(size)
                self.rfile.readline(_LONGEST_LINE)
            self.rfile.readline(_LONGEST_LINE)
        else:
            yield from self._exactly(int(self.headers.get("Content-Length", "0")))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size > 0:
            data = self.rfile.read(min(size, _CHUNK))
            if not data:
                raise ValueError("the request ended early")
            size -= len(data)
            yield data

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: the library never prints."""
