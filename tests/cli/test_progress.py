"""A build's progress, as lines and as a bar."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prov_cli import progress
from prov_cli.progress import Lines, make_progress, shown_progress

from prov.history.directories import find_directory
from prov.progress import report, shown_by
from prov.store.repository import Store
from prov.worktree.checkout import checkout_new
from prov.wrapped.run import capture_as
from prov.wrapped.step import CommandStep
from tests.cli.story import Project
from tests.cli.test_output import on_terminal, run_on_terminal


def test_each_task_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    result: Any = SimpleNamespace(seconds=1.25, place="")
    with make_progress() as shown:
        assert isinstance(shown, Lines)
        shown.planned(2)
        shown.started("a:go", "")
        shown.finished("a:go", "ran", 1, 2, result)
        shown.finished("b:go", "restored", 2, 2, None)
        shown.note("text")
    assert capsys.readouterr().err.splitlines() == [
        "task 1 of 2: a:go ran in 1.2 s",
        "task 2 of 2: b:go restored",
        "note: text",
    ]


def test_a_terminal_shows_failures(small: Project) -> None:
    small.task("exit 1")
    out = on_terminal(small, "build", "a:go")
    assert b"a:go failed" in out
    assert b"task 1 of 1:" not in out


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that meters see, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_long_activity_has_periodic_lines_without_a_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with shown_progress():
        for second in range(30):
            clock[0] = float(second)
            report("reading files", second, 40)
        clock[0] = 30.0
        report("searching", 0)
        clock[0] = 31.0
        report("searching", 0)
    assert capsys.readouterr().err.splitlines() == [
        "note: reading files: 25 %",
        "note: reading files: 50 %",
    ]


def test_bytes_and_activities_without_an_amount_have_lines(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    meter = progress.LineMeter()
    for activity, done in (("transferring data with team", 3 << 20), ("searching", 0)):
        meter.show(activity, done, 0)
        clock[0] += 10
        meter.show(activity, done, 0)
    assert capsys.readouterr().err.splitlines() == [
        "note: transferring data with team: 3.1 MB",
        "note: searching",
    ]


def test_a_terminal_shows_a_bar_that_disappears(two: Project) -> None:
    script = two.write(
        "show.py",
        "from prov.progress import report\n"
        "from prov_cli import progress\n"
        "progress.BAR_AFTER = 0\n"
        "with progress.shown_progress():\n"
        "    report('reading files', 10, 40)\n"
        "    report('searching', 0, 0)\n",
    )
    printed = run_on_terminal(two, [sys.executable, str(script)])
    assert b"reading files |" in printed and b" 25 % " in printed
    assert b"searching 00:00" in printed
    assert re.search(rb"searching 00:00\r +\r$", printed)


def test_a_long_checkout_reports_placed_files(two: Project, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    class Recorder:
        def show(self, activity: str, done: int, total: int) -> None:
            seen.append((activity, done, total))

    for number in range(400):
        two.write(f"many/{number}/{number}", f"{number}")
    with shown_by(Recorder()):
        store = Store.open(two.root / ".prov")
        tag = capture_as(store, two.root / "many", CommandStep.parse("many:files")).tag
        pair = find_directory(store, tag).pair
        with store.objects.writer(memory=True) as writer:
            checkout_new(writer, tmp_path / "out", pair)
    assert {activity for activity, _, _ in seen} == {"reading files", "placing files"}
    assert all(done <= total for _, done, total in seen)
