"""Reading files from a web server: whole, or ranges of them."""

from __future__ import annotations

import base64
import http.client
import netrc
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.remote.access import Access, http_settings
from prov.remote.address import without_password
from prov.remote.errors import RemoteError, Unreachable

_CHUNK = 1 << 20


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
    _headers: dict[str, str] = field(default_factory=dict)
    _whole: dict[str, bytes] = field(default_factory=dict)
    """Files of a server that gives no ranges."""

    def __post_init__(self) -> None:
        environment = self.access.environment
        settings = http_settings(self.url, self.access)
        proxies = {scheme: settings.get("proxy") or _proxy(environment, scheme) for scheme in ("http", "https")}
        handler = urllib.request.ProxyHandler({scheme: url for scheme, url in proxies.items() if url})
        secure = urllib.request.HTTPSHandler(context=_tls(self.name, settings))
        self._opener = urllib.request.build_opener(handler, secure)
        parts = urllib.parse.urlsplit(self.url)
        login = f"{parts.username}:{parts.password or ''}" if parts.username else _login(environment, parts.hostname)
        if login:
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        host = parts.netloc.rpartition("@")[2]
        self.url = urllib.parse.urlunsplit(parts._replace(netloc=host)).rstrip("/")

    def get(self, path: str, *, most: int) -> bytes:
        """Return a file. Raises Missing, and Unreachable for one that is larger than `most` bytes."""
        return self._read(path, {}, most)[1]

    def range(self, path: str, start: int, end: int) -> bytes:
        """Return a file's bytes from start up to end. Raises Missing and Unreachable."""
        if path not in self._whole:
            status, data = self._read(path, {"Range": f"bytes={start}-{end - 1}"}, None, wanted=end - start)
            if status == http.client.PARTIAL_CONTENT:
                return data
            self._whole = {path: data}  # the last only: they may be large
        return self._whole[path][start:end]

    def _read(
        self, path: str, headers: Mapping[str, str], most: int | None, *, wanted: int | None = None
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.url}/{path}", headers={**self._headers, **headers})
        try:
            with self._opener.open(request, timeout=self.access.patience) as answer:
                limit = wanted if answer.status == http.client.PARTIAL_CONTENT else most
                chunks, size = [], 0
                while chunk := answer.read(_CHUNK):
                    chunks.append(chunk)
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise Unreachable(self.name, f"{path} is larger than it may be")
                return answer.status, b"".join(chunks)
        except urllib.error.HTTPError as error:
            if error.code in (http.client.NOT_FOUND, http.client.GONE):
                raise Missing(path) from error
            raise Denied(self.name, f"{path}: the server says {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            where = without_password(self.url)
            raise Unreachable(self.name, f"{where}/{path}: {error or type(error).__name__}") from error


def _proxy(environment: Mapping[str, str], scheme: str) -> str:
    """Return the proxy for a scheme, by the variables that curl reads; `HTTP_PROXY` is not one of them."""
    names = [f"{scheme}_proxy", "all_proxy", "ALL_PROXY"]
    if scheme == "https":
        names.insert(1, "HTTPS_PROXY")
    return next((environment[name] for name in names if environment.get(name)), "")


def _tls(remote: str, settings: Mapping[str, str]) -> ssl.SSLContext:
    """Return how certificates are checked, by git's settings. Raises RemoteError for files that can't be read."""
    try:
        context = ssl.create_default_context(cafile=settings.get("sslcainfo") or None)
        if settings.get("sslcert"):
            context.load_cert_chain(settings["sslcert"], settings.get("sslkey") or None)
    except OSError as error:
        files = ", ".join(settings[name] for name in ("sslcainfo", "sslcert", "sslkey") if settings.get(name))
        raise RemoteError(
            f"remote {remote}: certificates can't be read: {error}", hint=f"git's settings name {files}"
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
