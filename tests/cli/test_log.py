"""`prov log`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_log_has_the_newest_run_first_also_of_one_second(small: Project) -> None:
    tasks = "".join(f"[tasks.t{n}]\nafter = ['t{n + 1}']\nscript = 'true'\n" for n in range(3, 9))
    small.task("true", more=f"after = ['t3']\n{tasks}[tasks.t9]\nscript = 'true'\n")
    small.prov("build", "a")
    small.prov("build", "-f", "a:go", "a")
    runs = [(run["task"], run["number"]) for run in small.json("log", "a")["runs"]]
    assert runs == [("go", 2), ("go", 1), *((f"t{n}", 1) for n in range(3, 10))]
    assert [line.split()[4] for line in small.ask("log", "a", "-n", "3").splitlines()] == [
        "a:go",
        "a:go",
        "a:t3",
    ]
