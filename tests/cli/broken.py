"""A demo that fails."""

from __future__ import annotations

from tests.cli.story import Project


def break_it(project: Project) -> None:
    project.edit("recipes/hello/hello/hello.c", "return 0;", "return zero;")
    project.prov("build", "demo-image", code=1)
