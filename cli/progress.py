"""A build's progress: a bar with the running tasks on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prov.text import name_text

from .output import note, seconds_text, unescaped_stderr

if TYPE_CHECKING:
    from prov.scheduler.summary import Progress
    from prov.tasks.job import Result


class Lines:
    """A line for each task that is done."""

    def planned(self, total: int) -> None:
        pass

    def started(self, key: str) -> None:
        pass

    def finished(self, key: str, what: str, done: int, total: int, result: Result | None) -> None:
        took = f" in {seconds_text(result.seconds)}" if result else ""
        note(f"task {done} of {total}: {key} {what}{took}")

    def note(self, text: str) -> None:
        note(f"note: {text}")


class Bar:
    """A bar, the running tasks behind it; it appears when the plan is made."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stream = unescaped_stderr()
        self._running: list[str] = []

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def planned(self, total: int) -> None:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # its thread would be in the way of forks
        self._bar = tqdm(
            total=total, file=self._stream, leave=False, dynamic_ncols=True, bar_format=_FORM
        )

    def _show(self) -> None:
        self._bar.desc = name_text(" ".join(self._running[:4])) + (
            " …" if len(self._running) > 4 else ""
        )
        self._bar.refresh()

    def started(self, key: str) -> None:
        self._running.append(key)
        self._show()

    def finished(self, key: str, what: str, done: int, total: int, result: Result | None) -> None:
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
def make_progress() -> Iterator[Progress]:
    """Yield what shows a build's progress."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()


_FORM = "task {n_fmt} of {total_fmt} |{bar:24}| {elapsed} {desc}"
