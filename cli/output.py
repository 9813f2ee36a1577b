"""Answers on standard output, notes on standard error; the one place that prints."""

from __future__ import annotations

import io
import json
import locale
import os
import select
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from prov.text import printable

SCHEMA = 1


class _Survivor(io.FileIO):
    """A standard stream that no longer fails once its reader is gone: `error` says why the rest was dropped.

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


def open_streams() -> None:
    """Replace standard output and error by streams that drop what can't be written and escape what can't be encoded."""
    sys.stdout = _surviving(1, sys.stdout)
    sys.stderr = _surviving(2, sys.stderr)


def _surviving(number: int, old: TextIO | None) -> TextIO:
    raw = _Survivor(number, "wb", closefd=False)
    encoding = old.encoding if old is not None else locale.getpreferredencoding(False)
    buffered = io.BufferedWriter(raw)
    line_buffering = number == 2 or raw.isatty()
    return io.TextIOWrapper(buffered, encoding, errors="backslashreplace", line_buffering=line_buffering)


def close_streams(status: int) -> int:
    """Write out what is buffered; return the exit status, which an answer that could not be written makes 1."""
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


def shown(text: str, stream: TextIO) -> str:
    """Return a text as a stream gets it: what a terminal would obey is escaped there."""
    return printable(text) if stream.isatty() else text


def say(text: str = "", *, coloured: bool = False) -> None:
    """Print a line of an answer. A `coloured` one is git's, and keeps its escape sequences."""
    sys.stdout.write((text if coloured else shown(text, sys.stdout)) + "\n")


def say_json(kind: str, **content: Any) -> None:
    """Print an answer as JSON."""
    say(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=2))


def note(text: str) -> None:
    """Print a line that is not part of the answer."""
    sys.stderr.write(shown(text, sys.stderr) + "\n")


def pass_on(data: bytes) -> None:
    """Pass on what a command prints, as it comes."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a device or a pipe is written to as it is."""
    from prov.files import replace_file

    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        replace_file(path.resolve(), data)  # of a link, what it leads to


def colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def count_text(number: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `3 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def seconds_text(seconds: float) -> str:
    """Return a time as people read it: `0.4 s`, `3 min 20 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def time_text(seconds: float) -> str:
    """Return a time since the epoch as the user's clock shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
