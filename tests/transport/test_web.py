"""Answers of web servers, and the limits of reading them."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from prov.transport.access import Access
from prov.transport.errors import Unreachable
from prov.transport.git import Transport, make_scratch
from prov.transport.web import Missing, Web
from tests.servers.liar import Liar, Request, liar

pytestmark = pytest.mark.process

NETRC = "machine 127.0.0.1 login anna password hunter2\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def server(stack: ExitStack, tmp_path: Path) -> Liar:
    return stack.enter_context(liar(tmp_path))


def web(server: Liar, tmp_path: Path, patience: float = 30.0, **environment: str) -> Web:
    (tmp_path / "home").mkdir(exist_ok=True)
    netrc = tmp_path / "home/.netrc"
    netrc.write_text(NETRC)
    netrc.chmod(0o600)
    return Web(
        "m", server.url, Access({"HOME": str(tmp_path / "home"), **environment}, patience=patience)
    )


def to(url: str, status: int = 302) -> object:
    return lambda request: request.begin(status, Location=url, Content_Length="0")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_password_does_not_follow_a_redirect_to_another_origin(
    status: int, server: Liar, stack: ExitStack, tmp_path: Path
) -> None:
    other = stack.enter_context(liar(tmp_path))
    (tmp_path / "file").write_text("content")
    server.answers["file"] = to(f"http://127.0.0.1:{other.port}/file", status)  # type: ignore[assignment]
    assert web(server, tmp_path).get("file", most=100) == b"content"
    assert server.passwords()
    assert other.seen and not other.passwords()


def test_a_password_in_a_redirect_is_not_used(
    server: Liar, stack: ExitStack, tmp_path: Path
) -> None:
    other = stack.enter_context(liar(tmp_path))
    (tmp_path / "file").write_text("content")
    server.answers["file"] = to(f"http://eve:x@localhost:{other.port}/file")  # type: ignore[assignment]
    assert web(server, tmp_path).get("file", most=100) == b"content"
    assert not other.passwords()


def test_a_password_follows_a_redirect_within_its_origin(server: Liar, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("content")
    server.answers["file"] = to("/there")  # type: ignore[assignment]
    assert web(server, tmp_path).get("file", most=100) == b"content"
    assert len(server.passwords()) == 2


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x/"]
)
def test_redirects_lead_only_to_web_servers(where: str, server: Liar, tmp_path: Path) -> None:
    server.answers["file"] = to(where)  # type: ignore[assignment]
    with pytest.raises(Unreachable):
        web(server, tmp_path).get("file", most=10_000)


def test_five_redirects_are_followed(server: Liar, tmp_path: Path) -> None:
    (tmp_path / "file5").write_text("content")
    for number in range(5):
        server.answers[f"file{number}"] = to(f"/file{number + 1}")  # type: ignore[assignment]
    assert web(server, tmp_path).get("file0", most=100) == b"content"
    server.answers["file5"] = to("/file0")  # type: ignore[assignment]
    with pytest.raises(Unreachable, match="more than 5"):
        web(server, tmp_path).get("file0", most=100)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(path)], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def test_a_redirect_from_https_to_http_is_rejected(
    stack: ExitStack, server: Liar, certificate: Path, tmp_path: Path
) -> None:
    secure = stack.enter_context(liar(tmp_path, certificate=certificate))
    (tmp_path / "file").write_text("content")
    assert (
        web(secure, tmp_path, GIT_SSL_CAINFO=str(certificate)).get("file", most=100) == b"content"
    )
    secure.answers["file"] = to(f"{server.url}/file")  # type: ignore[assignment]
    with pytest.raises(Unreachable, match="from https to http"):
        web(secure, tmp_path, GIT_SSL_CAINFO=str(certificate)).get("file", most=100)
    assert not server.seen


def test_git_rejects_a_redirect_from_https_to_http(
    stack: ExitStack, server: Liar, certificate: Path, tmp_path: Path
) -> None:
    secure = stack.enter_context(liar(tmp_path, certificate=certificate))
    secure.answers["git-upload-pack"] = to(f"{server.url}/info/refs?service=git-upload-pack")  # type: ignore[assignment]
    access = Access({"PATH": "/usr/bin:/bin", "GIT_SSL_CAINFO": str(certificate)})
    with pytest.raises(Unreachable):
        Transport("m", f"{secure.url}/x.git", access).refs(make_scratch(tmp_path / "git"), "*")
    assert secure.seen and not server.seen


def test_the_size_of_a_file_is_limited(server: Liar, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.begin(200)
        request.send_endlessly()

    server.answers["file"] = endless
    with pytest.raises(Unreachable, match="larger"):
        web(server, tmp_path).get("file", most=1000)
    assert server.sent < 64 << 20


@pytest.mark.parametrize("length", [str(1 << 60), "-5", "9" * 400, "x"])
def test_an_announced_length_is_not_trusted(length: str, server: Liar, tmp_path: Path) -> None:
    def lie(request: Request) -> None:
        request.begin(200, Content_Length=length)
        request.send(b"x" * 100)

    server.answers["file"] = lie
    with suppress(Unreachable):
        assert web(server, tmp_path).get("file", most=1000) == b"x" * 100


def range_of(server: Liar, tmp_path: Path, start: int, end: int, size: int) -> bytes:
    """Return the bytes from `append_range`; of a whole file, the requested part."""
    target = io.BytesIO()
    part = web(server, tmp_path, 1.0).append_range(
        "file", start, end, size=size, target=target, folder=tmp_path
    )
    return target.getvalue() if part else target.getvalue()[start:end]


def test_ranges(server: Liar, tmp_path: Path) -> None:
    def part(request: Request) -> None:
        request.begin(206, Content_Range="bytes 2-4/10", Content_Length="3")
        request.send(b"234")

    server.answers["file"] = part
    assert range_of(server, tmp_path, 2, 5, 10) == b"234"
    for start, end in ((1, 4), (2, 6), (2, 4)):
        with pytest.raises(Unreachable):
            range_of(server, tmp_path, start, end, 10)
    del server.answers["file"]  # from a server without support for ranges
    (tmp_path / "file").write_bytes(b"0123456789")
    assert range_of(server, tmp_path, 2, 5, 10) == b"234"
    for size in (9, 11):
        with pytest.raises(Unreachable):
            range_of(server, tmp_path, 2, 5, size)
    with pytest.raises(Missing):
        web(server, tmp_path).append_range(
            "none", 0, 1, size=1, target=io.BytesIO(), folder=tmp_path
        )


@pytest.mark.parametrize("status", [200, 206])
def test_a_range_without_an_end(status: int, server: Liar, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.begin(status, Content_Range="bytes 0-9/*")
        request.send_endlessly()

    server.answers["file"] = endless
    with pytest.raises(Unreachable, match="larger"):
        range_of(server, tmp_path, 0, 10, 10)
    assert server.sent < 64 << 20


def drip(request: Request, *, headers: bool) -> None:
    """Send a byte from time to time, without an end."""
    request.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"" if headers else b"\r\n"))
    while not request.server.liar.ended.wait(0.1):
        request.wfile.write(b"x")


@pytest.mark.parametrize("headers", [True, False])
def test_single_bytes_are_too_slow(headers: bool, server: Liar, tmp_path: Path) -> None:
    server.answers["file"] = lambda request: drip(request, headers=headers)
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        web(server, tmp_path, patience=0.5).get("file", most=1 << 20)
    assert time.monotonic() - begun < 5


def test_headers_without_an_end(server: Liar, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        while True:
            request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    server.answers["file"] = endless
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        web(server, tmp_path).get("file", most=100)
    assert time.monotonic() - begun < 20


def test_a_redirect_whose_content_has_no_end(server: Liar, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.begin(302, Location="/there")
        request.send_endlessly()

    server.answers["file"] = endless
    (tmp_path / "there").write_text("content")
    assert web(server, tmp_path).get("file", most=100) == b"content"
    assert server.sent < 64 << 20


def test_the_disk_is_not_filled(
    server: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transfer is canceled when space runs out, regardless of the announced size."""
    monkeypatch.setattr("prov.transport.pace.RESERVE", 1 << 60)

    def endless(request: Request) -> None:
        request.begin(200)
        request.send_endlessly()

    server.answers["file"] = endless
    with pytest.raises(Unreachable, match="MiB free"):
        range_of(server, tmp_path, 0, 10, 1 << 40)
    assert server.sent < 128 << 20
