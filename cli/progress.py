"""Progress: a bar on a terminal, plain lines elsewhere.

A build shows its tasks; all other long operations show the library's progress reports.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prov import progress
from prov.records import outcomes
from prov.scheduler import summary
from prov.tasks import job
from prov.text import name_text, seconds_text, size_text

from .output import note, remark, unescaped_stderr

SHOWN_TASKS = 4
"""Number of running tasks shown after the bar."""


class Lines:
    """Prints a line for each finished task."""

    def planned(self, total: int) -> None:
        pass

    def started(self, key: str, place: str) -> None:
        pass

    def finished(
        self, key: str, what: str, done: int, total: int, result: job.Result | None
    ) -> None:
        took = f" in {seconds_text(result.seconds)}" if result else ""
        place = f" at {result.place}" if result and result.place else ""
        note(f"task {done} of {total}: {key} {outcomes.outcome_text(what)}{took}{place}")

    def note(self, text: str) -> None:
        note(f"note: {text}")


class Bar:
    """Shows a bar and the running tasks, after planning."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stream = unescaped_stderr()
        self._running: dict[str, str] = {}
        """Task -> its name and place, as shown."""

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def planned(self, total: int) -> None:
        self._bar = _new_bar(total, _FORM)

    def _show(self) -> None:
        description = name_text(" ".join([*self._running.values()][:SHOWN_TASKS]))
        if len(self._running) > SHOWN_TASKS:
            description += " …"
        self._bar.desc = description
        self._bar.refresh()

    def started(self, key: str, place: str) -> None:
        self._running[key] = f"{key}@{place}" if place else key
        self._show()

    def finished(
        self, key: str, what: str, done: int, total: int, result: job.Result | None
    ) -> None:
        self._running.pop(key, None)
        self._bar.update(done - self._bar.n)
        if what == "failed":
            self._write(f"{key} failed")
        self._show()

    def note(self, text: str) -> None:
        if self._bar is None:
            note(f"note: {text}")
        else:
            self._write(f"note: {text}")

    def _write(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.write(name_text(text), file=self._stream)


@contextmanager
def make_progress() -> Iterator[summary.Progress]:
    """Yield a display of a build's progress."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()


_FORM = "task {n_fmt} of {total_fmt} |{bar:24}| {elapsed} {desc}"


BAR_AFTER = 1.0
"""Seconds before a bar appears; shorter operations show none."""
LINE_EVERY = 10.0
"""Seconds before the first line and between two lines, without a terminal."""


class _Activity:
    """The current activity of an operation, and the time of the next display."""

    def __init__(self, first: float) -> None:
        self.name = ""
        self.first = first
        self.next = 0.0

    def is_due(self, name: str, pause: float) -> bool:
        """Return whether to display the activity now; then, the next is due in `pause` seconds."""
        now = time.monotonic()
        if name != self.name:
            self.name, self.next = name, now + self.first
        if now < self.next:
            return False
        self.next = now + pause
        return True


class LineMeter:
    """Prints lines during a long operation."""

    def __init__(self) -> None:
        self._activity = _Activity(LINE_EVERY)

    def show(self, activity: str, done: int, total: int) -> None:
        if self._activity.is_due(activity, LINE_EVERY):
            remark(f"{activity}: {_amount(done, total)}".removesuffix(": "))


class BarMeter:
    """Shows a bar during a long operation."""

    def __init__(self) -> None:
        self._activity = _Activity(BAR_AFTER)
        self._bar: Any = None

    def show(self, activity: str, done: int, total: int) -> None:
        if activity != self._activity.name:
            self.close()
        if not self._activity.is_due(activity, 0.1):
            return
        if self._bar is None:
            self._bar = _new_bar(total, _METER if total else _COUNT)
        amount = "" if total else _amount(done, total)
        self._bar.desc = name_text(f"{activity} {amount}".rstrip())
        self._bar.n = done
        self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _amount(done: int, total: int) -> str:
    if total:
        return f"{100 * done // total} %"
    return size_text(done) if done else ""


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show the progress that the library reports inside this context, on standard error."""
    if not sys.stderr.isatty():
        with progress.shown_by(LineMeter()):
            yield
        return
    meter = BarMeter()
    try:
        with progress.shown_by(meter):
            yield
    finally:
        meter.close()


def _new_bar(total: int, form: str) -> Any:
    # imported here: the import takes 40 ms, and only long operations on a terminal need it
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # its thread would interfere with forks
    return tqdm(
        total=total or None,
        file=unescaped_stderr(),
        leave=False,
        dynamic_ncols=True,
        bar_format=form,
    )


_METER = "{desc} |{bar:24}| {percentage:3.0f} % {elapsed}"
_COUNT = "{desc} {elapsed}"
