"""Persistent connections to web servers, with limits on time and bytes.

urllib3 limits only the time to wait for a single byte. A server that sends a byte from time to
time, or endless headers, requires limits for the whole answer: see `Allowance`. They include the
status line, headers, content and all retries.
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
"""Seconds to wait before each retry after a temporary failure."""
_TEMPORARY = (
    http.client.BAD_GATEWAY,
    http.client.SERVICE_UNAVAILABLE,
    http.client.GATEWAY_TIMEOUT,
)
_DRAINED = 1 << 16
"""Maximum bytes of an unused answer to read, so as to reuse its connection."""

Answer = urllib3.BaseHTTPResponse
"""A server's answer, with its content not yet read."""
FAILURES = (OSError, http.client.HTTPException, HTTPError, ValueError)
"""Exceptions of a failed request; ValueError for an invalid URL or header."""


@dataclass(slots=True)
class Allowance:
    """The limits of an answer, including its headers."""

    pace: Pace
    patience: float
    """Timeout for a single byte, in seconds."""
    most: int
    """Maximum bytes."""

    def seconds(self) -> float:
        """Return the timeout for the next byte. Raises TimeoutError if no time is left."""
        seconds = min(self.patience, self.pace.left())
        if seconds <= 0:
            raise TimeoutError(f"too slow: received {self.pace.total} bytes")
        return seconds

    def add(self, count: int) -> None:
        """Count received bytes. Raises OSError if they exceed the limit."""
        self.pace.add(count)
        if self.pace.total > self.most:
            raise OSError(f"the answer is larger than the limit of {self.most} bytes")


class Connections:
    """Connections to web servers, direct or through proxies, for one request at a time.

    `make_tls` returns the TLS context. It is called only for https, because loading the system's
    certificates takes longer than many requests.
    """

    def __init__(self, proxies: Proxies, make_tls: Callable[[], ssl.SSLContext]) -> None:
        self._proxies = proxies
        self._make_tls = make_tls
        self._managers: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._process = os.getpid()
        self._allowance: Allowance | None = None

    def send(self, url: str, headers: Mapping[str, str], allowance: Allowance) -> Answer:
        """Return the answer to a GET request, including errors and redirects.

        A connection error before the answer and the statuses 502 to 504 are temporary failures; the
        request is retried after each of PAUSES, within the allowance. Raises one of FAILURES.
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
            # the user disabled certificate verification
            warnings.simplefilter("ignore", InsecureRequestWarning)
            return manager.urlopen(
                "GET",
                url,
                headers={"User-Agent": f"git-prov/{__version__}", **headers},
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=seconds, read=seconds),
                preload_content=False,
                decode_content=False,  # a small compressed answer could expand to a large one
                enforce_content_length=False,  # the reader compares lengths itself
            )

    def _manager(self, scheme: str, proxy: str) -> urllib3.PoolManager:
        """Return the connection pools for a proxy; "" for direct connections."""
        if self._process != os.getpid():
            # a forked process must not share connections: answers would be mixed up
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
        assert self._allowance is not None, "send() sets it"
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
    """An HTTP response that reads every byte, including headers, within an allowance."""

    def __init__(self, allowance: Allowance, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_PacedReader(allowance, sock, self.fp.detach()))


def discard(answer: Answer) -> None:
    """Discard an answer: read a short one to its end to reuse its connection, else close it."""
    remaining = answer.length_remaining
    if remaining is not None and remaining <= _DRAINED:
        answer.drain_conn()
    answer.close()


def root_cause(error: Exception) -> Exception:
    """Return the underlying cause of an error of urllib3: an OS, TLS or HTTP error."""
    while isinstance(error, HTTPError):
        # not __context__: it may be an unrelated error that the caller is handling
        causes = [cause for cause in (*error.args, error.__cause__) if isinstance(cause, Exception)]
        if not causes:
            break
        error = causes[-1]
    return error
