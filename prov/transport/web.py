"""Reading files from a web server: whole, or ranges of them.

The server may answer anything. Never more is read than was asked for, nor from one that is too
slow; what may be large goes to a file, not to memory; and a password goes to the scheme, host and
port that it is for, wherever the server sends its clients.
"""

from __future__ import annotations

import base64
import http.client
import io
import netrc
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from prov.transport.access import Access, http_settings
from prov.transport.address import without_password
from prov.transport.errors import RemoteError, Unreachable
from prov.transport.pace import LEAST, Pace, check_room

_CHUNK = 1 << 20
MOST_REDIRECTS = 5
LONGEST = 600.0
"""Seconds for a file that is read into memory."""
_OVERHEAD = 1 << 20
"""Bytes of headers and of the marks between chunks, beside twice the content."""
_SCHEMES = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)


class Missing(Exception):
    """The server has no such file."""


class Denied(Unreachable):
    """The server answers, and gives nothing."""


@dataclass(slots=True)
class Web:
    """Files below a URL."""

    name: str
    url: str
    access: Access
    _opener: urllib.request.OpenerDirector = field(init=False)
    _login: dict[str, str] = field(default_factory=dict)
    """The header with the password, for the origin of the URL alone."""

    def __post_init__(self) -> None:
        environment = self.access.environment
        settings = http_settings(self.url, self.access)
        proxies = {
            scheme: settings.get("proxy") or _proxy(environment, scheme) for scheme in _SCHEMES
        }
        self._opener = (
            urllib.request.OpenerDirector()
        )  # without the handlers of ftp, file and data URLs
        for handler in (
            urllib.request.ProxyHandler({scheme: url for scheme, url in proxies.items() if url}),
            _Http(),
            _Https(context=_tls(self.name, settings)),
        ):
            self._opener.add_handler(handler)
        parts = urllib.parse.urlsplit(self.url)
        login = _login(environment, parts.hostname)
        if parts.username:
            user = urllib.parse.unquote(parts.username)
            password = urllib.parse.unquote(parts.password or "")
            login = f"{user}:{password}"
        if login:
            self._login["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        host = parts.netloc.rpartition("@")[2]
        self.url = urllib.parse.urlunsplit(parts._replace(netloc=host)).rstrip("/")

    def get(self, path: str, *, most: int) -> bytes:
        """Return a file.

        Raises Missing, and Unreachable for one that is larger than `most` bytes.
        """
        target = io.BytesIO()
        self._copy(path, {}, target, whole=most, longest=LONGEST)
        return target.getvalue()

    def append_range(
        self, path: str, start: int, end: int, *, size: int, target: BinaryIO, folder: Path
    ) -> bool:
        """Append a file's bytes from start up to end to an open file, on the disk of `folder`;
        return True.

        Or the whole file, of `size` bytes, where the server gives no ranges, and False then. Raises
        Missing, and Unreachable for an answer that has more or fewer bytes.
        """
        headers = {"Range": f"bytes={start}-{end - 1}"}
        return self._copy(path, headers, target, whole=size, part=(start, end), folder=folder)

    def _copy(
        self,
        path: str,
        headers: Mapping[str, str],
        target: BinaryIO,
        *,
        whole: int,
        part: tuple[int, int] | None = None,
        folder: Path | None = None,
        longest: float | None = None,
    ) -> bool:
        """Append what the server answers to a file: `part` of what was asked for, then True, or all
        of it.
        """
        most = max(whole, part[1] - part[0] if part else 0)
        patience = self.access.patience
        pace = _Pace(
            Pace(2 * patience, int(LEAST * patience), longest), patience, 2 * most + _OVERHEAD
        )
        try:
            with self._open(f"{self.url}/{path}", headers, pace) as answer:
                is_part = part is not None and answer.status == http.client.PARTIAL_CONTENT
                if part is not None and is_part:
                    self._check_start(path, answer, part[0])
                    self._append(path, answer, target, part[1] - part[0], exact=True, folder=folder)
                else:
                    self._append(path, answer, target, whole, exact=part is not None, folder=folder)
                return is_part
        except (OSError, http.client.HTTPException, ValueError) as error:
            where = without_password(self.url)
            raise Unreachable(
                self.name, f"{where}/{path}: {error or type(error).__name__}"
            ) from error

    def _check_start(self, path: str, answer: http.client.HTTPResponse, start: int) -> None:
        if (
            not answer.headers.get("Content-Range", "")
            .strip()
            .lower()
            .startswith(f"bytes {start}-")
        ):
            raise Unreachable(
                self.name, f"{path}: the server answers with another range than was asked for"
            )

    def _append(
        self,
        path: str,
        answer: http.client.HTTPResponse,
        target: BinaryIO,
        most: int,
        *,
        exact: bool,
        folder: Path | None,
    ) -> None:
        size = 0
        while chunk := answer.read1(min(_CHUNK, most + 1 - size)):
            size += len(chunk)
            if size > most:
                raise Unreachable(
                    self.name, f"{path} is larger than it may be: more than {most} bytes"
                )
            target.write(chunk)
            if folder is not None:
                check_room(self.name, folder, size)
        if answer.length or (exact and size != most):
            raise Unreachable(self.name, f"{path} ends after {size} bytes")

    def _open(self, url: str, headers: Mapping[str, str], pace: _Pace) -> http.client.HTTPResponse:
        """Return the answer to a request, after at most so many redirects.

        Raises Missing and Unreachable.
        """
        origin = _origin(url)
        for _ in range(1 + MOST_REDIRECTS):
            login = self._login if _origin(url) == origin else {}
            request = urllib.request.Request(url, headers={**headers, **login})
            request.pace = pace  # type: ignore[attr-defined]
            answer: http.client.HTTPResponse = self._opener.open(
                request, timeout=self.access.patience
            )
            where = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or where is None:
                return self._checked(url, answer)
            answer.close()
            url = self._redirected(url, where)
        raise Unreachable(self.name, f"the server redirects more than {MOST_REDIRECTS} times")

    def _checked(self, url: str, answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
        if answer.status in (http.client.OK, http.client.PARTIAL_CONTENT):
            return answer
        answer.close()
        if answer.status in (http.client.NOT_FOUND, http.client.GONE):
            raise Missing(url)
        raise Denied(self.name, f"{url}: the server says {answer.status}")

    def _redirected(self, url: str, where: str) -> str:
        """Return the URL that a redirect leads to, without a password.

        Raises Unreachable for one that is refused.
        """
        quoted = urllib.parse.quote(where, safe="%/:=&?~#+!$,;'@()*[]")
        target = urllib.parse.urlsplit(urllib.parse.urljoin(url, quoted))
        if target.scheme not in _SCHEMES or not target.hostname:
            raise Unreachable(
                self.name, f"the server redirects to {target.scheme}://, which is refused"
            )
        if url.startswith("https:") and target.scheme != "https":
            raise Unreachable(
                self.name, "the server redirects from https to http, which is refused"
            )
        host = target.netloc.rpartition("@")[2]
        return urllib.parse.urlunsplit(target._replace(netloc=host, fragment=""))


def _origin(url: str) -> tuple[str, str, int]:
    """Return what a password is for: scheme, host and port."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _SCHEMES.get(parts.scheme, 0)


@dataclass(slots=True)
class _Pace:
    """How long an answer is waited for, and how many bytes of it are read, with its headers."""

    pace: Pace
    patience: float
    most: int


class _Paced(io.RawIOBase):
    """What comes through a socket, at a pace: urllib's own limit is for a single byte."""

    def __init__(self, pace: _Pace, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._pace = pace
        self._socket = connection
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = min(self._pace.patience, self._pace.pace.left())
        if left <= 0:
            raise TimeoutError(f"too slow: {self._pace.pace.total} bytes came")
        self._socket.settimeout(left)
        count = self._raw.readinto(buffer) or 0
        self._pace.pace.add(count)
        if self._pace.pace.total > self._pace.most:
            raise OSError(f"the answer is longer than it may be: more than {self._pace.most} bytes")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, pace: _Pace, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_Paced(pace, sock, self.fp.detach()))


def _connection(kind: Any, pace: _Pace, host: str, **options: Any) -> http.client.HTTPConnection:
    made: http.client.HTTPConnection = kind(host, **options)
    made.response_class = partial(_Response, pace)  # type: ignore[assignment]
    return made


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPConnection, req.pace), req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> http.client.HTTPResponse:
        kind = partial(_connection, http.client.HTTPSConnection, req.pace)
        return self.do_open(kind, req, context=self._context)  # type: ignore[attr-defined]


def _proxy(environment: Mapping[str, str], scheme: str) -> str:
    """Return the proxy for a scheme, by the variables that curl reads; `HTTP_PROXY` is not one of
    them.
    """
    names = [f"{scheme}_proxy", "all_proxy", "ALL_PROXY"]
    if scheme == "https":
        names.insert(1, "HTTPS_PROXY")
    return next((environment[name] for name in names if environment.get(name)), "")


def _tls(remote: str, settings: Mapping[str, str]) -> ssl.SSLContext:
    """Return how certificates are checked, by git's settings.

    Raises RemoteError for files that can't be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.get("sslcainfo") or None)
        if settings.get("sslcert"):
            context.load_cert_chain(settings["sslcert"], settings.get("sslkey") or None)
    except OSError as error:
        files = ", ".join(
            settings[name] for name in ("sslcainfo", "sslcert", "sslkey") if settings.get(name)
        )
        raise RemoteError(
            f"remote {remote}: certificates can't be read: {error}",
            hint=f"git's settings name {files}",
        ) from error
    if settings.get("sslverify", "true").lower() in ("false", "no", "off", "0"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _login(environment: Mapping[str, str], host: str | None) -> str:
    """Return `user:password` for a host, as ~/.netrc has it, or nothing."""
    path = Path(environment.get("HOME", "/nonexistent"), ".netrc")
    try:
        found = netrc.netrc(path).authenticators(host or "") if path.is_file() else None
    except (netrc.NetrcParseError, OSError):
        return ""
    return f"{found[0]}:{found[2]}" if found else ""
