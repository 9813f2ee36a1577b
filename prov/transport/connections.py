"""Connections to web servers: kept for the next request, and read at a pace.

urllib3 limits how long a single byte is waited for. A server that sends a byte now and then, or
headers without an end, needs limits for the whole answer: see `Allowance`. They hold for the first
byte of a status line as for the last one of the content, whatever is sent again in between.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from prov import __version__
from prov.transport.pace import Pace
from prov.transport.web_access import Proxies, login_in

PAUSES = (0.1, 0.4)
"""Seconds before each further attempt at a request that met a temporary failure."""
_TEMPORARY = (
    http.client.BAD_GATEWAY,
    http.client.SERVICE_UNAVAILABLE,
    http.client.GATEWAY_TIMEOUT,
)
_DRAINED = 1 << 16
"""Bytes of an unused answer that are read to keep its connection, at most."""

Answer = urllib3.BaseHTTPResponse
"""A server's answer, of which the content is still to be read."""
FAILURES = (OSError, http.client.HTTPException, HTTPError, ValueError)
"""What a request that fails raises; ValueError for a URL or a header that makes no sense."""


@dataclass(slots=True)
class Allowance:
    """How long an answer is waited for, and how many bytes of it are read, with its headers."""

    pace: Pace
    patience: float
    """Seconds for a single byte."""
    most: int
    """Bytes."""

    def seconds(self) -> float:
        """Return how long the next byte is waited for. Raises TimeoutError when time is up."""
        seconds = min(self.patience, self.pace.left())
        if seconds <= 0:
            raise TimeoutError(f"too slow: {self.pace.total} bytes came")
        return seconds

    def add(self, count: int) -> None:
        """Count bytes that came. Raises OSError when they are too many."""
        self.pace.add(count)
        if self.pace.total > self.most:
            raise OSError(f"the answer is longer than it may be: more than {self.most} bytes")


class Connections:
    """Connections to web servers, directly or by proxies, for one request at a time.

    `make_tls` returns how certificates are verified. It is called for https alone: reading the
    certificates of all authorities takes longer than many a request.
    """

    def __init__(self, proxies: Proxies, make_tls: Callable[[], ssl.SSLContext]) -> None:
        self._proxies = proxies
        self._make_tls = make_tls
        self._managers: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._process = os.getpid()
        self._allowance: Allowance | None = None

    def send(self, url: str, headers: Mapping[str, str], allowance: Allowance) -> Answer:
        """Return the answer to a GET request, be it an error or a redirect.

        A connection error before the answer, and the statuses 502 to 504, are temporary: the
        request is sent again, as long as the allowance lasts. Raises one of FAILURES.
        """
        self._allowance = allowance
        for pause in PAUSES:
            try:
                answer = self._send(url, headers, allowance)
            except HTTPError as error:
                if not isinstance(root_cause(error), ConnectionError):
                    raise
            else:
                if answer.status not in _TEMPORARY:
                    return answer
                discard(answer)
            time.sleep(pause)
        return self._send(url, headers, allowance)

    def _send(self, url: str, headers: Mapping[str, str], allowance: Allowance) -> Answer:
        seconds = allowance.seconds()
        manager = self._manager(urlsplit(url).scheme, self._proxies.proxy_of(url))
        with warnings.catch_warnings():
            # the user has turned the verification of certificates off
            warnings.simplefilter("ignore", InsecureRequestWarning)
            return manager.urlopen(
                "GET",
                url,
                headers={"User-Agent": f"git-prov/{__version__}", **headers},
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=seconds, read=seconds),
                preload_content=False,
                decode_content=False,  # a small answer could inflate to a large one
                enforce_content_length=False,  # the reader compares lengths itself
            )

    def _manager(self, scheme: str, proxy: str) -> urllib3.PoolManager:
        """Return the pools of connections through a proxy, or of direct ones for an empty one."""
        if self._process != os.getpid():
            # on a connection of the parent process, its answers and ours would get mixed up
            self._managers = {}
            self._process = os.getpid()
        if (scheme, proxy) not in self._managers:
            self._managers[scheme, proxy] = self._make_manager(scheme, proxy)
        return self._managers[scheme, proxy]

    def _make_manager(self, scheme: str, proxy: str) -> urllib3.PoolManager:
        tls = self._make_tls() if scheme == "https" else None
        manager = urllib3.PoolManager(ssl_context=tls)
        if proxy:
            login = login_in(proxy)
            headers = urllib3.make_headers(proxy_basic_auth=login) if login else {}
            manager = urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=tls)
        manager.pool_classes_by_scheme = {
            "http": partial(self._make_pool, HTTPConnectionPool),  # type: ignore[dict-item]
            "https": partial(self._make_pool, HTTPSConnectionPool),  # type: ignore[dict-item]
        }
        return manager

    def _make_pool(self, kind: Any, host: str, port: int, **options: Any) -> HTTPConnectionPool:
        pool: HTTPConnectionPool = kind(host, port, **options)
        pool.ConnectionCls = partial(self._make_connection, pool.ConnectionCls)  # type: ignore[assignment]
        return pool

    def _make_connection(self, kind: Any, **options: Any) -> HTTPConnection:
        connection: HTTPConnection = kind(**options)
        connection.response_class = self._make_response  # type: ignore[assignment]
        return connection

    def _make_response(self, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
        assert self._allowance is not None, "a request has one"
        return _PacedResponse(self._allowance, sock, **options)


class _PacedReader(io.RawIOBase):
    """Reads a socket within an allowance."""

    def __init__(self, allowance: Allowance, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._allowance = allowance
        self._socket = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._allowance.seconds())
        count = self._raw.readinto(buffer) or 0
        self._allowance.add(count)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    """An answer of which every byte, headers included, is read within an allowance."""

    def __init__(self, allowance: Allowance, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_PacedReader(allowance, sock, self.fp.detach()))


def discard(answer: Answer) -> None:
    """Drop an answer: read a short one to its end, which frees its connection; else close that."""
    remaining = answer.length_remaining
    if remaining is not None and remaining <= _DRAINED:
        answer.drain_conn()
    answer.close()


def root_cause(error: Exception) -> Exception:
    """Return the error that led to one of urllib3's: that of the system, of TLS, or of http."""
    while isinstance(error, HTTPError):
        # not __context__: that may be an error that the caller is handling
        causes = [cause for cause in (*error.args, error.__cause__) if isinstance(cause, Exception)]
        if not causes:
            break
        error = causes[-1]
    return error
