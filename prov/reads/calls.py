"""Parse the output of strace: a line for each system call, with the paths that it names.

    123 openat(AT_FDCWD</src>, "a\\"b", O_RDONLY) = 3</src/a\\"b>
    124 execve("/bin/sh", [...], 0x7ffc /* 9 vars */ <unfinished ...>
    124 <... execve resumed>) = -1 ENOENT (No such file or directory)
    124 +++ exited with 1 +++

Strings and paths are escaped as in C. Inside `<…>`, strace also escapes the brackets, so text that
a file name contains cannot end a path or a line early.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class PathArgument(NamedTuple):
    """A path that a call names."""

    base: bytes | None
    """The folder that a relative path starts from; None for the current folder."""
    path: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A call that returned."""

    pid: int
    name: str
    paths: tuple[PathArgument, ...]
    text: bytes
    """All arguments, as printed."""
    result: int
    error: str = ""
    """The name of the error, such as `ENOENT`."""
    opened: bytes = b""
    """The path of the returned descriptor, or another description of it, such as `pipe:[7]`."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a process."""

    pid: int
    interrupted: str = ""
    """The call that did not return."""


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A line that is not as expected."""

    line: bytes


_STRING = rb'"(?>[^"\\]+|\\.)*"'
_BRACKETS = rb"<(?>[^>\\]+|\\.)*>"
_LINE = re.compile(
    rb"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*)|\+\+\+ (.*) \+\+\+|--- .* ---)", re.DOTALL
)
_RETURNED = re.compile(
    rb"((?>%b|%b|[^\"<)]+|\)(?! += ))*+)\) += (-?\d+|\?|0x[0-9a-f]+)(?:<((?>[^>\\]+|\\.)*)>)?(.*)"
    % (_STRING, _BRACKETS),
    re.DOTALL,
)
_UNFINISHED = b" <unfinished ...>"
_ERROR = re.compile(rb"(?: (E[A-Z0-9]+)\b)?")
_ARGUMENT = re.compile(
    rb"(AT_FDCWD|\d+)<((?>[^>\\]+|\\.)*)>(?:\(deleted\))?|\"((?>[^\"\\]+|\\.)*)\""
)
_OUTER_PID = re.compile(rb"(?: /\* (\d+) in strace's PID NS \*/)?")
STARTS = frozenset(("clone", "clone3", "fork", "vfork"))
"""Calls that start a process or a thread."""


def unescaped(text: bytes) -> bytes:
    """Return the bytes that strace printed with escapes."""
    return codecs.escape_decode(text)[0]


def parse_calls(lines: Iterable[bytes]) -> Iterator[Call | End | Unparsed]:
    """Yield the calls of a trace in the order in which they returned."""
    unfinished: dict[int, tuple[bytes, bytes]] = {}
    for line in lines:
        match = _LINE.fullmatch(line.rstrip(b"\n"))
        if match is None:
            yield Unparsed(line)
            continue
        number, name, rest, resumed, tail, end = match.groups()
        pid = int(number)
        if end is not None:
            if end.startswith((b"exited", b"killed")):
                yield End(pid, unfinished.pop(pid, (b"", b""))[0].decode())
            continue
        if resumed is not None:
            name, head = unfinished.pop(pid, (b"", b""))
            rest = head + tail
            if name != resumed:
                yield Unparsed(line)
                continue
        if name is None:  # a signal
            continue
        if rest.endswith(_UNFINISHED):
            unfinished[pid] = name, rest.removesuffix(_UNFINISHED)
            continue
        yield _call(pid, name, rest) or Unparsed(line)


def _call(pid: int, name: bytes, rest: bytes) -> Call | None:
    match = _RETURNED.fullmatch(rest)
    if match is None:
        return None
    text, result, opened, note = match.groups()
    if result == b"?":
        # the call is restarted, or its process ends
        return Call(pid, name.decode(), (), text, -1, "ERESTART")
    return Call(
        pid,
        name.decode(),
        tuple(_paths(text)),
        text,
        _number(result, note),
        (_optional(_ERROR, note) or b"").decode(),
        unescaped(opened or b""),
    )


def _optional(pattern: re.Pattern[bytes], text: bytes) -> bytes | None:
    """Return the group of a pattern that also matches without it."""
    match = pattern.match(text)
    return match and match[1]


def _number(result: bytes, note: bytes) -> int:
    """Return the result of a call; a process number is that outside of its namespace."""
    return int(_optional(_OUTER_PID, note) or result, 0)


def _paths(text: bytes) -> Iterator[PathArgument]:
    """Yield the paths among a call's arguments; one after a descriptor starts from its folder."""
    base: bytes | None = None
    end = 0
    for match in _ARGUMENT.finditer(text):
        descriptor, folder, string = match.groups()
        if descriptor is not None:
            base, end = unescaped(folder), match.end()
            continue
        if text[end : match.start()] != b", ":
            base = None
        yield PathArgument(base, unescaped(string))
        base = None


def described(text: bytes) -> bytes:
    """Return the path of the first descriptor among a call's arguments; empty if it has none."""
    match = _ARGUMENT.search(text)
    return unescaped((match and match[2]) or b"")


def parents(lines: Iterable[bytes]) -> dict[int, list[int]]:
    """Return the processes that started each process; a number can be used more than once.

    A process can appear in a trace before the call that started it returns.
    """
    starters: dict[int, list[int]] = {}
    for line in lines:
        if b"clone" in line or b"fork" in line:
            match = _START.match(line)
            if match is not None:
                starters.setdefault(_number(match[2], match[3]), []).append(int(match[1]))
    return starters


_START = re.compile(
    rb"(\d+) +(?:(?:clone3?|v?fork)\(|<\.\.\. (?:clone3?|v?fork) resumed>)[^\"]*\) += (\d+)(.*)",
    re.DOTALL,
)
