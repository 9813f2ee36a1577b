"""A build's progress, as lines and as a bar."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prov_cli.progress import Lines, make_progress

from tests.cli.story import Project
from tests.cli.test_output import on_terminal


def test_each_task_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    result: Any = SimpleNamespace(seconds=1.25)
    with make_progress() as progress:
        assert isinstance(progress, Lines)
        progress.planned(2)
        progress.started("a:go")
        progress.finished("a:go", "ran", 1, 2, result)
        progress.finished("b:go", "restored", 2, 2, None)
        progress.note("text")
    assert capsys.readouterr().err.splitlines() == [
        "task 1 of 2: a:go ran in 1.2 s",
        "task 2 of 2: b:go restored",
        "note: text",
    ]


def test_a_terminal_shows_failures(small: Project) -> None:
    small.task("exit 1")
    out = on_terminal(small, "build", "a:go")
    assert b"a:go failed" in out
    assert b"task 1 of 1" not in out
