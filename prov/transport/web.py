"""Read files, or ranges of files, from an untrusted web server.

prov never reads more bytes than requested, cancels a transfer that is too slow, writes large files
to disk instead of memory, and sends a password only to the scheme, host and port of its URL, also
after a redirect.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from prov.transport.access import Access, http_settings
from prov.transport.address import without_password
from prov.transport.connections import (
    FAILURES,
    Allowance,
    Answer,
    Connections,
    discard,
    root_cause,
)
from prov.transport.errors import Unreachable
from prov.transport.pace import LEAST, Pace, check_room
from prov.transport.web_access import PORTS, authorization, proxies_of, tls_context

_CHUNK = 1 << 20
MOST_REDIRECTS = 5
LONGEST = 600.0
"""Maximum seconds for a file read into memory."""
_OVERHEAD = 1 << 20
"""Bytes allowed for headers and chunk marks, in addition to twice the size of the content."""
_REDIRECTS = (301, 302, 303, 307, 308)


class Missing(Exception):
    """The server has no such file."""


class Denied(Unreachable):
    """The server answers with an error status."""


@dataclass(slots=True)
class Web:
    """Files below a URL."""

    name: str
    url: str
    access: Access
    _connections: Connections = field(init=False)
    _authorization: dict[str, str] = field(init=False)
    """The header with the password, sent only to the origin of the URL."""

    def __post_init__(self) -> None:
        environment = self.access.environment
        settings = http_settings(self.url, self.access)
        proxies = proxies_of(settings, environment)
        self._connections = Connections(proxies, partial(tls_context, self.name, settings))
        self._authorization = authorization(self.url, environment)
        self.url = _without_login(self.url).rstrip("/")

    def get(self, path: str, *, most: int) -> bytes:
        """Return the content of a file.

        Raises Missing, and Unreachable if it is larger than `most` bytes.
        """
        target = io.BytesIO()
        allowance = self._allowance(most, longest=LONGEST)
        with self._answer(path, {}, allowance) as answer:
            self._append(path, answer, target, most)
        return target.getvalue()

    def append_range(
        self, path: str, start: int, end: int, *, size: int, target: BinaryIO, folder: Path
    ) -> bool:
        """Append the bytes `start` to `end` (exclusive) of a file to `target`; return True.

        If the server does not support ranges, append the whole file, of `size` bytes, and return
        False. `folder` is on the disk of `target`. Raises Missing, and Unreachable if the answer
        has more or fewer bytes.
        """
        headers = {"Range": f"bytes={start}-{end - 1}"}
        allowance = self._allowance(max(size, end - start))
        with self._answer(path, headers, allowance) as answer:
            is_part = answer.status == http.client.PARTIAL_CONTENT
            if is_part:
                self._check_start(path, answer, start)
            expected = end - start if is_part else size
            count = self._append(path, answer, target, expected, folder)
            if count != expected:
                raise self._ends_early(path, count)
            return is_part

    def _allowance(self, most: int, *, longest: float | None = None) -> Allowance:
        """Return the limits of an answer with at most `most` bytes of content."""
        patience = self.access.patience
        pace = Pace(2 * patience, int(LEAST * patience), longest)
        return Allowance(pace, patience, 2 * most + _OVERHEAD)

    @contextmanager
    def _answer(
        self, path: str, headers: Mapping[str, str], allowance: Allowance
    ) -> Iterator[Answer]:
        """Yield the answer to a request for a file. Raises Missing and Unreachable."""
        try:
            with self._open(f"{self.url}/{path}", headers, allowance) as answer:
                yield answer
        except FAILURES as error:
            url = without_password(f"{self.url}/{path}")
            cause = root_cause(error)
            raise Unreachable(self.name, f"{url}: {cause or type(cause).__name__}") from error

    def _check_start(self, path: str, answer: Answer, start: int) -> None:
        """Raise Unreachable unless the answer's range begins at `start`."""
        part = answer.headers.get("Content-Range", "").strip().lower()
        if not part.startswith(f"bytes {start}-"):
            raise Unreachable(
                self.name, f"{path}: the server sent {part[:40]!r}, expected bytes {start}-"
            )

    def _append(
        self, path: str, answer: Answer, target: BinaryIO, most: int, folder: Path | None = None
    ) -> int:
        """Append the content of an answer to a file; return its size in bytes.

        Raises Unreachable for more than `most` bytes, for fewer than the announced length, and for
        too little free space on the disk of `folder`.
        """
        size = 0
        while chunk := answer.read1(min(_CHUNK, most + 1 - size)):
            size += len(chunk)
            if size > most:
                raise Unreachable(self.name, f"{path} is larger than the limit of {most} bytes")
            target.write(chunk)
            if folder is not None:
                check_room(self.name, folder, size)
        if answer.length_remaining:
            raise self._ends_early(path, size)
        return size

    def _ends_early(self, path: str, size: int) -> Unreachable:
        return Unreachable(self.name, f"{path} ends after {size} bytes")

    def _open(self, url: str, headers: Mapping[str, str], allowance: Allowance) -> Answer:
        """Return the answer to a request, after at most MOST_REDIRECTS redirects.

        Raises Missing and Unreachable.
        """
        origin = _origin(url)
        for _ in range(1 + MOST_REDIRECTS):
            login = self._authorization if _origin(url) == origin else {}
            answer = self._connections.send(url, {**headers, **login}, allowance)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                return self._checked(url, answer)
            discard(answer)
            url = self._redirected(url, location)
        raise Unreachable(self.name, f"the server redirects more than {MOST_REDIRECTS} times")

    def _checked(self, url: str, answer: Answer) -> Answer:
        """Return a successful answer. Raises Missing or Denied for an error status."""
        if answer.status in (http.client.OK, http.client.PARTIAL_CONTENT):
            return answer
        discard(answer)
        if answer.status in (http.client.NOT_FOUND, http.client.GONE):
            raise Missing(url)
        raise Denied(self.name, f"{url}: the server answered with status {answer.status}")

    def _redirected(self, url: str, location: str) -> str:
        """Return the target of a redirect, without a password.

        Raises Unreachable for a target that is not http or https, or from https to http.
        """
        quoted = quote(location, safe="%/:=&?~#+!$,;'@()*[]")
        target = urlsplit(urljoin(url, quoted))
        if target.scheme not in PORTS or not target.hostname:
            raise Unreachable(
                self.name, f"redirect to {target.scheme}:// rejected: not an http or https URL"
            )
        if url.startswith("https:") and target.scheme != "https":
            raise Unreachable(self.name, "redirect from https to http rejected")
        return _without_login(urlunsplit(target._replace(fragment="")))


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port, for which a password is valid."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme, 0)


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
