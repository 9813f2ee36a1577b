"""How the library reports the progress of long operations.

A function calls `report` from its loop; the caller, such as the command line, shows the reports
through a meter. Without a meter, and in child processes, reports are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar


class Meter(Protocol):
    """Shows progress."""

    def show(self, activity: str, done: int, total: int) -> None:
        """Show `done` units of work of `total`; with a total of 0, `done` is a number of bytes.

        `activity` is a participle with an object, such as "reading files".
        """


_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def shown_by(meter: Meter) -> Iterator[None]:
    """Show reports from inside this context through a meter."""
    token = _current.set(meter)
    try:
        yield
    finally:
        _current.reset(token)


def silence() -> None:
    """Drop reports from now on: two processes must not draw on one terminal."""
    _current.set(None)


def report(activity: str, done: int, total: int = 0) -> None:
    """Report that `done` units of an activity are complete: of a total, or an unknown number of
    bytes.
    """
    meter = _current.get()
    if meter is not None:
        meter.show(activity, done, total)


STEP = 64
"""Number of items between two reports."""

Item = TypeVar("Item")


def counted(items: Sequence[Item], activity: str, *, every: int = STEP) -> Iterator[Item]:
    """Yield items; report progress before every `every`-th one."""
    for number, item in enumerate(items):
        if number % every == 0:
            report(activity, number, len(items))
        yield item
