"""The workflows in .github test the versions that pyproject.toml promises."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[1]
WORKFLOWS = TOP / ".github" / "workflows"


def _matrix(name: str) -> list[str]:
    text = (WORKFLOWS / "test.yml").read_text()
    found = re.search(rf"^ +{name}: \[(.*?)\]", text, re.MULTILINE)
    assert found
    return re.findall(r'"([^"]+)"', found[1])


def _project() -> dict[str, object]:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)
    return project


def test_the_oldest_python_is_tested() -> None:
    assert _project()["requires-python"] == f">={_matrix('python')[0]}"


def test_the_oldest_and_the_newest_typer_are_tested() -> None:
    oldest, newest = _matrix("typer")
    lower = oldest.replace("==", ">=").removesuffix(".0")
    assert f"typer{lower},{newest}" in str(_project()["dependencies"])


def test_actions_are_pinned_to_a_commit() -> None:
    for path in WORKFLOWS.iterdir():
        for action in re.findall(r"uses: (.*)", path.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action), action
