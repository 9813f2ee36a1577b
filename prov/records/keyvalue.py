"""Names and values as lines of text: what a record and an inputs tree hold.

A value is one line whatever is in it, and lines end at a newline alone: other characters that some
take for the end of a line (form feed, U+2028) are part of a value.
"""

from __future__ import annotations

from collections.abc import Mapping


def encode_lines(values: Mapping[str, str], between: str) -> bytes:
    """Return a line for each name and value."""
    lines = [f"{name}{between}{_escape(value)}\n" for name, value in values.items()]
    return "".join(lines).encode("utf-8", "surrogateescape")


def decode_lines(data: bytes, between: str) -> dict[str, str]:
    """Return the names and values that `encode_lines` wrote; a line without `between` is a name
    without a value.
    """
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    rows = (line.partition(between) for line in lines if line)
    return {name: _unescape(value) for name, _, value in rows}


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _unescape(text: str) -> str:
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\"))
