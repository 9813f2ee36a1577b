"""Text from elsewhere, such as names of files and logs, made fit to be printed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from difflib import get_close_matches

from prov.errors import ProvError

# C0 but tab and newline, DEL, C1; Unicode's line separators and what changes the direction of text
# ("Trojan Source").
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BREAKS = re.compile("[\t\n]")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def printable(text: str) -> str:
    """Return a text with its control characters escaped, so that a terminal does not obey them;
    lines stay lines.
    """
    return _CONTROLS.sub(_escaped, text)


def name_text(name: str) -> str:
    """Return a name in which control characters, tabs and newlines are escaped, as part of one
    line.
    """
    return _BREAKS.sub(_escaped, printable(name))


def one_line(text: str) -> str:
    """Return a message of several lines as one."""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


def few(keys: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    names = list(dict.fromkeys(keys))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return a hint that names the nearest of `candidates`, or an empty string."""
    near = get_close_matches(name, list(candidates), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""


def count_text(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `3 files`. The plural is the noun with an s, or as
    given.
    """
    if number == 1:
        return f"1 {noun}"
    plural = plural or f"{noun}s"
    return f"{number} {plural}"


def seconds_text(seconds: float) -> str:
    """Return a time as people read it: `0.4 s`, `3 min 20 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size_text(size: int) -> str:
    """Return a number of bytes as people read it: `1.4 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def parse_size(text: str) -> int:
    """Return the bytes that a size as people write it stands for: `500M`, `20G`.

    Raises ProvError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ProvError(f"{text!r} is no size", hint="as in 500M or 20G")
    size = float(match[1]) * _UNITS[match[2].upper()]
    if not math.isfinite(size):
        raise ProvError(f"{text[:50]!r} is no size: it is too large", hint="as in 500M or 20G")
    return int(size)
