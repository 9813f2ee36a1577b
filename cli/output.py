"""Output: answers on standard output, notes on standard error. No other module prints."""

from __future__ import annotations

import io
import json
import locale
import os
import select
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

from prov.text import printable

SCHEMA = 1
BOLD, RED, GREEN, YELLOW, CYAN, PLAIN = (
    "\x1b[1m",
    "\x1b[31m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[36m",
    "\x1b[m",
)
_paged = False
"""Whether a pager shows standard output on a terminal."""


class _Survivor(io.FileIO):
    """A standard stream that discards output after the first error, stored in `error`.

    A build must not fail because the program that displays its progress ended.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        while self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # the caller's stream is non-blocking and full
        return len(data)


class _Escaping(io.TextIOWrapper):
    """A standard stream that escapes control characters, so that recorded text cannot control a
    terminal.

    It also escapes them in a pipe, since pipes end at terminals. `pass_on` writes raw bytes.
    """

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)


def open_streams() -> None:
    """Replace both standard streams with streams that never fail and escape control characters."""
    sys.stdout = _surviving(1, sys.stdout)
    sys.stderr = _surviving(2, sys.stderr)


def _surviving(
    number: int, old: TextIO | None, kind: type[io.TextIOWrapper] = _Escaping
) -> io.TextIOWrapper:
    raw = _Survivor(number, "wb", closefd=False)
    encoding = old.encoding if old is not None else locale.getpreferredencoding(False)
    buffered = io.BufferedWriter(raw)
    line_buffering = number == 2 or raw.isatty()
    return kind(buffered, encoding, errors="backslashreplace", line_buffering=line_buffering)


def unescaped_stderr() -> TextIO:
    """Return standard error without escaping, for a progress bar, which moves the cursor.

    The caller must escape all other text.
    """
    return _surviving(2, sys.stderr, io.TextIOWrapper)


def close_streams(status: int) -> int:
    """Flush both streams; return the exit status, which is 1 if an answer could not be written."""
    sys.stdout.flush()
    error = _raw(sys.stdout).error
    if error is not None and not isinstance(error, BrokenPipeError):  # `prov log | head` succeeds
        note(f"prov: standard output: {error.strerror}")
        status = status or 1
    sys.stderr.flush()
    return status


def _raw(stream: Any) -> _Survivor:
    raw = stream.buffer.raw
    assert isinstance(raw, _Survivor)
    return raw


def say(text: str = "") -> None:
    """Print a line of an answer, with newlines escaped."""
    say_text(_line(text))


def say_text(text: str) -> None:
    """Print text, which may have several lines."""
    sys.stdout.write(f"{text}\n")


def say_json(kind: str, **content: Any) -> None:
    """Print an answer as JSON."""
    say_text(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=2))


def say_coloured(parts: Iterable[tuple[str, str]]) -> None:
    """Print a line of an answer from texts with their colours; an empty colour is plain."""
    if not colour():
        say("".join(text for text, _ in parts))
        return
    line = "".join(
        f"{start}{printable(_line(text))}{PLAIN}" if start else printable(_line(text))
        for text, start in parts
    )
    pass_on(f"{line}\n".encode(sys.stdout.encoding, "backslashreplace"))


def note(text: str) -> None:
    """Print a line on standard error, with newlines escaped."""
    sys.stderr.write(f"{_line(text)}\n")


def remark(text: str) -> None:
    """Print a remark on standard error: `note: ...`."""
    note(f"note: {text}")


def note_all(texts: Iterable[str]) -> None:
    """Print remarks on standard error."""
    for text in texts:
        remark(text)


def _line(text: str) -> str:
    return text.replace("\n", "\\n")


def pass_on(data: bytes) -> None:
    """Write raw bytes to standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say_exact(data: bytes) -> None:
    """Print data for programs: raw, except on a terminal, where control characters are escaped."""
    if on_terminal():
        sys.stdout.write(data.decode("utf-8", "backslashreplace"))
    else:
        pass_on(data)


def colour() -> bool:
    """Return whether to colour answers: on a terminal or in a pager, unless NO_COLOR is set."""
    return on_terminal() and not os.environ.get("NO_COLOR")


def on_terminal() -> bool:
    """Return whether answers end on a terminal, directly or through a pager."""
    return _paged or sys.stdout.isatty()


def set_paged(paged: bool) -> None:
    """Set whether standard output leads to a pager."""
    global _paged
    _paged = paged


def short_id(oid: bytes) -> str:
    """Return the first 12 hexadecimal digits of an id."""
    return oid.hex()[:12]


def time_text(seconds: float) -> str:
    """Return a time (seconds since the epoch) in local time."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
