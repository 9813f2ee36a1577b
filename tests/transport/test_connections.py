"""Connections to web servers: persistent, with retries and proxies, and within limits."""

from __future__ import annotations

import gzip
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import urllib3

from prov.transport.access import Access
from prov.transport.connections import PAUSES, Allowance, Connections, root_cause
from prov.transport.errors import Unreachable
from prov.transport.pace import Pace
from prov.transport.web import Denied, Missing, Web
from prov.transport.web_access import proxies_of
from tests.servers.fixtures import Servers
from tests.servers.liar import Liar, Request, liar

Answer = Callable[["_Handler"], None]


class _Handler(http.server.BaseHTTPRequestHandler):
    """A request to a server with persistent connections."""

    protocol_version = "HTTP/1.1"
    server: KeepingServer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.requests.append(self)
        self.server.paths.append(self.path)
        answers = self.server.answers
        answer = answers.pop(0) if answers else content
        answer(self)

    def respond(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_words: object) -> None:
        pass


class KeepingServer(http.server.ThreadingHTTPServer):
    """Counts connections and stores requests; it sends `answers` first, then `content`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.requests: list[_Handler] = []
        self.paths: list[str] = []
        self.answers: list[Answer] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def content(request: _Handler) -> None:
    request.respond(200, b"content")


def status(number: int, size: int = 10) -> Answer:
    return lambda request: request.respond(number, b"x" * size)


def hang_up(request: _Handler) -> None:
    """Close the connection without an answer."""
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def running() -> Iterator[KeepingServer]:
    with KeepingServer() as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield made
        finally:
            made.shutdown()


@pytest.fixture
def server() -> Iterator[KeepingServer]:
    with running() as made:
        yield made


def web(url: str, patience: float = 5.0, **environment: str) -> Web:
    return Web("m", url, Access(environment, patience=patience))


def test_a_connection_serves_many_requests(server: KeepingServer) -> None:
    files = web(server.url)
    for _ in range(10):
        assert files.get("file", most=100) == b"content"
    assert server.connections == 1


@pytest.mark.parametrize("answer", [status(404), status(410)])
def test_a_short_error_costs_no_connection(answer: Answer, server: KeepingServer) -> None:
    server.answers = [content, answer]
    files = web(server.url)
    files.get("file", most=100)
    with pytest.raises(Missing):
        files.get("none", most=100)
    files.get("file", most=100)
    assert server.connections == 1


def test_redirects_within_a_server_cost_no_connection(server: KeepingServer) -> None:
    server.answers = [lambda request: request.respond(302, b"", Location="/there")]
    assert web(server.url).get("file", most=100) == b"content"
    assert server.paths == ["/file", "/there"]
    assert server.connections == 1


def test_a_rejected_answer_closes_its_connection(server: KeepingServer) -> None:
    server.answers = [lambda request: request.respond(200, b"x" * 50)]
    files = web(server.url)
    with pytest.raises(Unreachable, match="larger"):
        files.get("file", most=10)
    assert files.get("file", most=10) == b"content"
    assert server.connections == 2


def test_nginx_counts_one_connection(static_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    served = static_server(tmp_path)
    files = web(served.url())
    for start in range(5):
        with open(tmp_path / "target", "wb") as target:
            files.append_range("file", start, start + 2, size=10, target=target, folder=tmp_path)
        assert (tmp_path / "target").read_bytes() == b"0123456789"[start : start + 2]
    rows = served.requests(at_least=5)
    assert len(rows) == 5
    assert len({row.rpartition("connection=")[2] for row in rows}) == 1


# retries


@pytest.mark.parametrize("answer", [status(502), status(503), status(504), hang_up])
def test_a_temporary_failure_is_retried(answer: Answer, server: KeepingServer) -> None:
    server.answers = [answer] * len(PAUSES)
    assert web(server.url).get("file", most=100) == b"content"
    assert len(server.requests) == 1 + len(PAUSES)


def test_a_permanent_failure_is_reported(server: KeepingServer) -> None:
    server.answers = [status(503)] * 10
    with pytest.raises(Denied, match="status 503"):
        web(server.url).get("file", most=100)
    assert len(server.requests) == 1 + len(PAUSES)


@pytest.mark.parametrize(
    "answer",
    [
        status(200, 50),
        status(400),
        status(401),
        status(403),
        status(404),
        status(429),
        status(500),
        lambda request: request.wfile.write(b"nonsense\r\n\r\n"),
        lambda request: request.respond(200, b"", Content_Length="5", Connection="close"),
    ],
)
def test_a_bad_answer_is_not_retried(answer: Answer, server: KeepingServer) -> None:
    server.answers = [answer] * 5
    with pytest.raises((Missing, Unreachable)):
        web(server.url, 1.0).get("file", most=10)
    assert len(server.requests) == 1


def test_a_connection_closed_by_the_server_is_replaced(server: KeepingServer) -> None:
    files = web(server.url)
    files.get("file", most=100)
    server.requests[0].connection.shutdown(socket.SHUT_RDWR)
    assert files.get("file", most=100) == b"content"
    assert server.connections == 2


def test_a_refused_connection_is_retried_and_reported() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        web(f"http://127.0.0.1:{port}").get("file", most=100)
    assert time.monotonic() - begun >= sum(PAUSES)
    assert "HTTPConnection" not in str(caught.value)


def test_attempts_share_one_deadline(server: KeepingServer) -> None:
    server.answers = [status(503)] * 5
    connections = Connections(proxies_of({}, {}), ssl.create_default_context)
    allowance = Allowance(Pace(10.0, 1, longest=sum(PAUSES) / 2), 10.0, 1 << 20)
    with pytest.raises(TimeoutError, match="too slow"):
        connections.send(f"{server.url}/file", {}, allowance)
    assert len(server.requests) < 1 + len(PAUSES)


def test_bytes_of_all_attempts_count(server: KeepingServer) -> None:
    server.answers = [status(503, 5000)] * 2
    connections = Connections(proxies_of({}, {}), ssl.create_default_context)
    allowance = Allowance(Pace(10.0, 1), 10.0, 6000)
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        connections.send(f"{server.url}/file", {}, allowance)
    assert "larger than the limit" in str(root_cause(caught.value))


# content


def test_content_is_not_decoded(server: KeepingServer) -> None:
    data = gzip.compress(bytes(1000))
    server.answers = [lambda request: request.respond(200, data, Content_Encoding="gzip")]
    assert web(server.url).get("file", most=100) == data
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_file_may_come_in_chunks(server: KeepingServer) -> None:
    def chunks(request: _Handler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"3\r\ncon\r\n4\r\ntent\r\n0\r\n\r\n")

    server.answers = [chunks]
    files = web(server.url)
    assert files.get("file", most=7) == b"content"
    assert files.get("file", most=7) == b"content"
    assert server.connections == 1


# proxies


def test_a_proxy_gets_the_whole_url_and_its_own_password(server: KeepingServer) -> None:
    proxy = server.url.replace("http://", "http://anna:hunter2@")
    files = web("http://host.invalid/cache", http_proxy=proxy)
    assert files.get("file", most=100) == b"content"
    (request,) = server.requests
    assert request.path == "http://host.invalid/cache/file"
    assert request.headers["Host"] == "host.invalid"
    assert request.headers["Proxy-Authorization"] == "Basic YW5uYTpodW50ZXIy"
    assert "Authorization" not in request.headers


def test_a_tunnel_to_a_secure_server(server: KeepingServer) -> None:
    files = web("https://host.invalid/cache", https_proxy=server.url)
    with pytest.raises(Unreachable, match="501"):  # this server does not support CONNECT
        files.get("file", most=100)
    assert server.requests == []


def test_a_connection_to_an_excluded_host_is_direct(server: KeepingServer) -> None:
    with running() as proxy:
        files = web(server.url, http_proxy=proxy.url, no_proxy="127.0.0.1")
        assert files.get("file", most=100) == b"content"
        assert proxy.requests == []


def test_an_unsupported_proxy_is_reported(server: KeepingServer) -> None:
    with pytest.raises(Unreachable, match="socks9"):
        web(server.url, all_proxy="socks9://127.0.0.1:1").get("file", most=100)


def test_limits_apply_through_a_proxy(tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.begin(200)
        request.send_endlessly()

    with liar(tmp_path) as proxy:
        made: Liar = proxy
        made.answers["file"] = endless
        with pytest.raises(Unreachable, match="larger"):
            web("http://host.invalid", http_proxy=made.url).get("file", most=1000)
        assert made.sent < 64 << 20
