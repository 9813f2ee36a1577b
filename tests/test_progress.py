"""Reports reach the meter of the caller, and none of a child process does."""

from __future__ import annotations

import os

from prov.processes import decode_answer, start_child
from prov.progress import counted, report, shown_by


class Recorder:
    """A meter that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int, int]] = []

    def show(self, activity: str, done: int, total: int) -> None:
        self.shown.append((activity, done, total))


def test_reports_reach_the_innermost_meter() -> None:
    outer, inner = Recorder(), Recorder()
    report("before", 1)
    with shown_by(outer):
        report("reading", 1, 2)
        with shown_by(inner):
            report("writing", 5)
        report("reading", 2, 2)
    report("after", 1)
    assert outer.shown == [("reading", 1, 2), ("reading", 2, 2)]
    assert inner.shown == [("writing", 5, 0)]


def test_items_are_counted_in_steps() -> None:
    meter = Recorder()
    with shown_by(meter):
        assert list(counted(range(150), "reading")) == list(range(150))
        assert list(counted("ab", "rebuilding", every=1)) == ["a", "b"]
    assert meter.shown == [
        ("reading", 0, 150),
        ("reading", 64, 150),
        ("reading", 128, 150),
        ("rebuilding", 0, 2),
        ("rebuilding", 1, 2),
    ]


def test_a_child_process_reports_nothing() -> None:
    meter = Recorder()

    def count() -> int:
        report("reading", 1, 2)
        return len(meter.shown)

    with shown_by(meter):
        child = start_child(count)
        with os.fdopen(child.answer, "rb") as answer:
            data = answer.read()
        status = os.waitpid(child.pid, 0)[1]
    assert decode_answer(data, status, "counting") == 0
