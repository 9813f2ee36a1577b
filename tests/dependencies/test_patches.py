"""Advice as patches to recipe files."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.dependencies.advice import Advice
from prov.dependencies.findings import Certainty, Floating, Transitive, Unused
from prov.dependencies.idle_tools import IdleTool
from prov.dependencies.patches import patch_of
from prov.recipes.project import Project
from prov.records.keys import TaskKey

RECIPE = """version = "1"
depends = ["a", "b"]
depends_native = ["tool"]

[tasks.build]
needs = ["a:install", "tool-native:install"]
hosttools = ["date", "make"]
"""
TOOL = 'version = "1"\nclassextend = ["native"]\n'
BUILD = TaskKey("app:build")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (tmp_path / "prov.toml").write_text('recipes = ["recipes"]\n')
    (folder / "app.toml").write_text(RECIPE)
    for name in ("a", "b", "c"):
        (folder / f"{name}.toml").write_text('version = "1"\n')
    for name in ("tool", "other"):
        (folder / f"{name}.toml").write_text(TOOL)
    return Project.load(tmp_path)


def unused(name: str, certainty: Certainty = Certainty.TRACED) -> Advice:
    return Advice("app", (Unused("app", TaskKey(f"{name}:install"), certainty, (BUILD,)),))


@pytest.mark.parametrize(
    ("advice", "changes"),
    [
        (Advice("app"), []),
        (
            unused("a"),
            [
                '-depends = ["a", "b"]',
                '+depends = ["b"]',
                '-needs = ["a:install", "tool-native:install"]',
                '+needs = ["tool-native:install"]',
            ],
        ),
        (
            unused("tool-native", Certainty.PROVED),
            [
                '-depends_native = ["tool"]',
                "+depends_native = []",
                '-needs = ["a:install", "tool-native:install"]',
                '+needs = ["a:install"]',
            ],
        ),
        (unused("a", Certainty.CANDIDATE), []),
        (unused("a", Certainty.NEEDED), []),
        (
            Advice("app", transitive=(Transitive("app", TaskKey("c:install"), (), ()),)),
            ['-depends = ["a", "b"]', '+depends = ["a", "b", "c"]'],
        ),
        (
            Advice("app", floating=(Floating("app", "other-native", ()),)),
            ['-depends_native = ["tool"]', '+depends_native = ["tool", "other"]'],
        ),
        (Advice("app", floating=(Floating("app", "c", (), is_cyclic=True),)), []),
        (
            Advice("app", idle=(IdleTool(BUILD, "make", Certainty.TRACED),)),
            ['-hosttools = ["date", "make"]', '+hosttools = ["date"]'],
        ),
    ],
)
def test_patch(project: Project, advice: Advice, changes: list[str]) -> None:
    patch = patch_of(project, advice)
    lines = patch.text.splitlines()[2:]
    changed = [line for line in lines if line.startswith(("-", "+"))]
    assert sorted(changed) == sorted(changes)
    assert patch.left_out == ()


def test_what_the_file_does_not_list_is_left_out(project: Project) -> None:
    patch = patch_of(project, unused("c"))
    assert (patch.text, patch.left_out) == ("", ("recipes/app.toml does not list c",))
