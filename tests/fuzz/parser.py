"""Describe and attack a parser.

One law applies to every parser of untrusted input. It returns a value or raises its documented
error. For 64 kB, it needs at most `MEMORY` bytes and `SECONDS` of processor time.
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
"""Bytes that a parser may need beyond the memory of the process."""
SECONDS = 2.0
"""Seconds of processor time for one input.

A busy machine does not affect it; a slow one can need double the usual time.
"""
LARGE = 1 << 16
"""Size in bytes of an input that shows quadratic behaviour."""


class TooSlow(BaseException):
    """A parser exceeded its time limit; parsers do not catch this class."""


class LawBroken(AssertionError):
    """A parser broke the law; the message contains the whole input."""


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser, and how to generate valid input for it."""

    name: str
    parse: Callable[[bytes], Any]
    raises: type[Exception] | None
    """The documented error; None for a parser that always returns a value."""
    values: st.SearchStrategy[Any]
    encode: Callable[[Any], bytes] = bytes
    inverse: bool = False
    """True if parse(encode(value)) == value."""
    canonical: Callable[[Any], bytes] | None = None
    """Encodes a parsed value; in a format with one form per value, the bytes are equal."""
    valid: bool = True
    """True if the parser accepts all of `values`."""
    slow: bool = False
    """True if the parser starts a process or syncs files."""

    def __str__(self) -> str:
        return self.name


@contextmanager
def limited() -> Iterator[None]:
    """Limit the memory and processor time of a block, which then raises MemoryError or TooSlow."""

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
    """Kill the process with a traceback after some seconds, the only way to stop hanging C code."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def attack(parser: Parser, data: bytes) -> object:
    """Return a parser's value for some bytes, or its documented error. Raises LawBroken."""
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
