"""Answers on standard output, notes on standard error; the one place that prints."""

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


class _Survivor(io.FileIO):
    """A standard stream that no longer fails once its reader is gone: `error` says why the rest was
    dropped.

    A build must not end because the program that shows its progress did.
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
                select.select([], [self], [])  # the caller's stream is non-blocking, and full
        return len(data)


class _Escaping(io.TextIOWrapper):
    """A standard stream on which control characters are escaped, so that no text of others controls
    a terminal.

    That is so in a pipe, too, since pipes end at terminals. `pass_on` writes bytes as they are.
    """

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)


def open_streams() -> None:
    """Replace standard output and error by streams that drop what can't be written and escape
    control characters.
    """
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
    """Return standard error for a program that moves the cursor itself; escape other text that it
    writes there.
    """
    return _surviving(2, sys.stderr, io.TextIOWrapper)


def close_streams(status: int) -> int:
    """Write out what is buffered; return the exit status, which an answer that could not be written
    makes 1.
    """
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
    """Print a line of an answer; newlines in it are escaped, too."""
    say_text(_line(text))


def say_text(text: str) -> None:
    """Print text of several lines."""
    sys.stdout.write(f"{text}\n")


def say_json(kind: str, **content: Any) -> None:
    """Print an answer as JSON, which has control characters as JSON's escapes."""
    say_text(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=2))


def note(text: str) -> None:
    """Print a line that is not part of the answer; newlines in it are escaped, too."""
    sys.stderr.write(f"{_line(text)}\n")


def remark(text: str) -> None:
    """Print a remark beside the answer: `note: …`."""
    note(f"note: {text}")


def note_all(texts: Iterable[str]) -> None:
    """Print remarks beside the answer."""
    for text in texts:
        remark(text)


def _line(text: str) -> str:
    return text.replace("\n", "\\n")


def pass_on(data: bytes) -> None:
    """Write bytes to standard output as they are."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say_exact(data: bytes) -> None:
    """Print data that programs read: as it is, but for control characters on a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(data.decode("utf-8", "backslashreplace"))
    else:
        pass_on(data)


def colour() -> bool:
    """Return whether answers are coloured: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def short_id(oid: bytes) -> str:
    """Return the first 12 hexadecimal digits of an id."""
    return oid.hex()[:12]


def time_text(seconds: float) -> str:
    """Return a time since the epoch as the user's clock shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
