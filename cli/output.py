"""Answers on standard output, notes on standard error; the one place that prints."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = 1


def say(text: str = "") -> None:
    """Print a line of an answer."""
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:  # a name that is no UTF-8, or a terminal that is not
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode() + "\n")


def say_json(kind: str, **content: Any) -> None:
    """Print an answer as JSON."""
    say(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=2))


def note(text: str) -> None:
    """Print a line that is not part of the answer."""
    sys.stderr.write(text + "\n")


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
