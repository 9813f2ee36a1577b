"""Text from elsewhere, such as names of files and logs, made fit to be printed."""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1; Unicode's line separators and what changes the direction of text ("Trojan Source").
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BREAKS = re.compile("[\t\n]")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def printable(text: str) -> str:
    """Return a text with its control characters escaped, so that a terminal does not obey them; lines stay lines."""
    return _CONTROLS.sub(_escaped, text)


def name_text(name: str) -> str:
    """Return a name in which control characters, tabs and newlines are escaped, as part of one line."""
    return _BREAKS.sub(_escaped, printable(name))


def one_line(text: str) -> str:
    """Return a message of several lines as one."""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())
