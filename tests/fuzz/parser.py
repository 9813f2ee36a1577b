"""A parser under attack: what it reads, the one error that it may raise, and the limits that it
must keep.

The law is the same for every parser of input from outside. It returns a value or raises its
documented error. It needs no more than `MEMORY`, and no more than `SECONDS` of processor time, for
64 kB.
"""

from __future__ import annotations

import faulthandler
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import strategies as st

MEMORY = 100 << 20
"""Bytes that a parser may need beyond what the process has."""
SECONDS = 2.0
"""Of processor time, for one input.

A loaded machine does not change it; a slow one may need double the usual time.
"""
LARGE = 1 << 16
"""Bytes of an input that shows quadratic behaviour."""


class TooSlow(BaseException):
    """A parser ran out of time. No parser can catch it by accident."""


class LawBroken(AssertionError):
    """A parser broke the law; the message holds the whole input."""


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser, and how valid input for it is made."""

    name: str
    parse: Callable[[bytes], Any]
    raises: type[Exception] | None
    """The documented error; None for a parser that always returns a value."""
    values: st.SearchStrategy[Any]
    encode: Callable[[Any], bytes] = bytes
    inverse: bool = False
    """parse(encode(value)) == value"""
    canonical: Callable[[Any], bytes] | None = None
    """Encodes what was parsed: a format with one form for each value has the same bytes again."""
    valid: bool = True
    """Whether all of `values` are accepted."""
    slow: bool = False
    """It starts a process, or syncs files."""

    def __str__(self) -> str:
        return self.name


@contextmanager
def limited() -> Iterator[None]:
    """Limit memory and processor time of what runs within. Raises MemoryError and TooSlow there."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """End the process with a traceback after so many seconds: code in C that hangs can't be stopped
    otherwise.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def attack(parser: Parser, data: bytes) -> object:
    """Return what a parser makes of some bytes, or the error that it may raise.

    Raises LawBroken.
    """
    try:
        with limited():
            value = parser.parse(data)
    except (Exception, TooSlow) as error:
        if parser.raises is not None and isinstance(error, parser.raises):
            return error
        raise LawBroken(
            f"{parser}: {type(error).__name__}: {str(error)[:200]}\n{data!r}"
        ) from error
    if parser.canonical is not None and parser.canonical(value) != data:
        raise LawBroken(f"{parser}: accepted, and not written like that\n{data!r}")
    return value
