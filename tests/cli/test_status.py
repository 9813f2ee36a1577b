"""`prov status`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_each_recipe_has_a_line(small: Project) -> None:
    small.task("echo 1 > out/x")
    small.task("echo 1 > out/x", "b")
    small.prov("build", "a")
    assert small.ask("status") == "a: up to date\nb: to run: go\n"
    assert small.json("status") == {
        "schema": 1,
        "kind": "status",
        "recipes": [{"recipe": "a", "to_run": []}, {"recipe": "b", "to_run": ["b:go"]}],
    }
