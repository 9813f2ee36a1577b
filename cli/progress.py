"""A build's progress: a bar with the running tasks on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prov.records import outcomes
from prov.scheduler import summary
from prov.tasks import job
from prov.text import name_text, seconds_text

from .output import note, unescaped_stderr

SHOWN_TASKS = 4
"""Number of running tasks that are shown behind the bar."""


class Lines:
    """Prints a line for each finished task."""

    def planned(self, total: int) -> None:
        pass

    def started(self, key: str) -> None:
        pass

    def finished(
        self, key: str, what: str, done: int, total: int, result: job.Result | None
    ) -> None:
        took = f" in {seconds_text(result.seconds)}" if result else ""
        note(f"task {done} of {total}: {key} {outcomes.outcome_text(what)}{took}")

    def note(self, text: str) -> None:
        note(f"note: {text}")


class Bar:
    """Shows a bar and the running tasks, from the end of planning on."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stream = unescaped_stderr()
        self._running: list[str] = []

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def planned(self, total: int) -> None:
        # imported here: it takes 40 ms, and only a build on a terminal needs it
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # its thread would disturb forks
        self._bar = tqdm(
            total=total, file=self._stream, leave=False, dynamic_ncols=True, bar_format=_FORM
        )

    def _show(self) -> None:
        description = name_text(" ".join(self._running[:SHOWN_TASKS]))
        if len(self._running) > SHOWN_TASKS:
            description += " …"
        self._bar.desc = description
        self._bar.refresh()

    def started(self, key: str) -> None:
        self._running.append(key)
        self._show()

    def finished(
        self, key: str, what: str, done: int, total: int, result: job.Result | None
    ) -> None:
        if key in self._running:
            self._running.remove(key)
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
