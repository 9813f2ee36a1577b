"""`prov reproducible`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_a_task_with_two_outputs_is_listed(small: Project) -> None:
    small.task("date +%s%N > out/x")
    small.prov("build", "a")
    said = "no task is known to have given different outputs for the same inputs\n"
    assert small.ask("reproducible") == said
    small.prov("build", "-f", "a:go", "a")
    head, *lines = small.ask("reproducible", code=1).splitlines()
    assert head.startswith("a:go ") and head.endswith(": 2 outputs")
    assert lines[-1].strip() == "M out/x"
    [row] = small.json("reproducible", code=1)["tasks"]
    assert (row["task"], len(row["outputs"]), len(row["differences"])) == ("a:go", 2, 1)
