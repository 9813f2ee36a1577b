"""Add items to arrays of a recipe file, and remove them, without changing the rest of the text.

An edit is accepted only if tomllib parses the new text to exactly the wanted change, so a text that
this module misunderstands is never damaged.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Path = tuple[str, ...]
"""The keys that lead to an array: ("tasks", "compile", "needs")."""
_HEADER = re.compile(r"[ \t]*\[{1,2}([^\[\]#]*)\]{1,2}[ \t]*(#.*)?")
_TOKEN = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'[^'\n]*')|(\#[^\n]*)|([\[\],])|(\s+)""")


class _Item(NamedTuple):
    """A string in an array: its value, and where it begins and ends in the text."""

    value: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Array:
    items: tuple[_Item, ...]
    begin: int
    """The index after the opening bracket."""
    end: int
    """The index of the closing bracket."""


def remove_item(text: str, path: Path, item: str) -> str | None:
    """Return a TOML text without an item of an array; None if it cannot be removed."""
    array = _find_array(text, path)
    values = [own.value for own in array.items] if array else []
    if array is None or item not in values:
        return None
    number = values.index(item)
    begin, end = array.items[number].begin, array.items[number].end
    if number + 1 < len(values):
        end = array.items[number + 1].begin
    elif number:
        begin = array.items[number - 1].end
    values.pop(number)
    return _checked(text, text[:begin] + text[end:], path, values)


def add_item(text: str, path: Path, item: str) -> str | None:
    """Return a TOML text with an item added to an array, or None if it cannot be added."""
    array = _find_array(text, path)
    quoted = f'"{item}"'
    if array is not None:
        values = [own.value for own in array.items]
        at = array.items[-1].end if array.items else array.begin
        separator = _separator(text, array.items) if array.items else ""
        return _checked(text, text[:at] + separator + quoted + text[at:], path, [*values, item])
    if len(path) > 1:
        return None
    at = _end_of_top(text)
    line = f"{path[0]} = [{quoted}]\n"
    return _checked(text, text[:at] + line + text[at:], path, [item])


def _separator(text: str, items: Sequence[_Item]) -> str:
    """Return the text between the last two items, or before the only one, with a comma."""
    last = items[-1]
    before = text[text.rfind("\n", 0, last.begin) + 1 : last.begin]
    return ", " if before.strip() else f",\n{before}"


def _find_array(text: str, path: Path) -> _Array | None:
    """Return the array of strings at a path, or None."""
    table: Path = ()
    key = re.compile(rf"""[ \t]*["']?{re.escape(path[-1])}["']?[ \t]*=[ \t]*\[""")
    for begin, line in _lines(text):
        header = _HEADER.fullmatch(line)
        if header is not None:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            continue
        start = key.match(line)
        if start is not None and table == path[:-1]:
            return _scan(text, begin + start.end())
    return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line without its end, and where it begins."""
    begin = 0
    for line in text.splitlines(keepends=True):
        yield begin, line.rstrip("\r\n")
        begin += len(line)


def _scan(text: str, begin: int) -> _Array | None:
    """Return the array whose opening bracket is before `begin`; None if not all are strings."""
    items: list[_Item] = []
    at = begin
    while True:
        token = _TOKEN.match(text, at)
        if token is None or token[3] == "[":
            return None
        if token[3] == "]":
            return _Array(tuple(items), begin, at)
        if token[1]:
            items.append(_Item(tomllib.loads(f"x = {token[1]}")["x"], at, token.end()))
        at = token.end()


def _end_of_top(text: str) -> int:
    """Return where the last key before the first table ends."""
    end = 0
    for begin, line in _lines(text):
        if _HEADER.fullmatch(line):
            break
        if line.strip() and not line.lstrip().startswith("#"):
            end = begin + len(line) + 1
    return min(end, len(text))


def _checked(old: str, new: str, path: Path, values: list[str]) -> str | None:
    """Return the new text if it differs from the old one only in the array at a path."""
    try:
        wanted, table = tomllib.loads(old), tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        return None
    inner: Any = wanted
    for name in path[:-1]:
        inner = inner.get(name) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        return None
    inner[path[-1]] = values
    return new if table == wanted else None
