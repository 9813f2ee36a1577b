"""Format texts for output: escape untrusted text, format numbers, parse sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from difflib import get_close_matches

from prov.errors import ProvError

# C0 except tab and newline, DEL, C1, Unicode line separators, and the characters that change the
# direction of text ("Trojan Source").
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BREAKS = re.compile("[\t\n]")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def printable(text: str) -> str:
    """Return a text with its control characters escaped, except tabs and newlines.

    A terminal would execute such characters.
    """
    return _CONTROLS.sub(_escaped, text)


def name_text(name: str) -> str:
    """Return a name on one line, with control characters, tabs and newlines escaped."""
    return _BREAKS.sub(_escaped, printable(name))


def one_line(text: str) -> str:
    """Return the lines of a message joined by slashes."""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


def few(keys: Iterable[str]) -> str:
    """Return the first three names and the number of others, as text."""
    names = list(dict.fromkeys(keys))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return a hint with up to three similar candidates, or an empty string."""
    near = get_close_matches(name, list(candidates), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""


def count_text(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `3 files`. By default, the plural adds an s."""
    if number == 1:
        return f"1 {noun}"
    plural = plural or f"{noun}s"
    return f"{number} {plural}"


def seconds_text(seconds: float) -> str:
    """Return a duration as text: `0.4 s`, `3 min 20 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size_text(size: int) -> str:
    """Return a number of bytes as text: `1.4 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


_SIZE = "use a size such as 500M or 20G"
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def parse_size(text: str) -> int:
    """Parse a size such as `500M` or `20G`; return bytes. Raises ProvError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ProvError(
            f"invalid size {text[:50]!r}: expected a number with an optional K, M, G or T",
            hint=_SIZE,
        )
    size = float(match[1]) * _UNITS[match[2].upper()]
    if not math.isfinite(size):
        raise ProvError(f"invalid size {text[:50]!r}: too large", hint=_SIZE)
    return int(size)
