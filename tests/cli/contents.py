"""Builds of one task with different contents."""

from __future__ import annotations

from pathlib import Path

from tests.cli.story import Project


def build(project: Project, *contents: str) -> None:
    """Build the task once for each content of its output."""
    for content in contents:
        project.task(f"echo {content} > out/x")
        project.prov("build", "a")


def content(project: Project, name: str, folder: Path) -> str:
    project.prov("checkout", name, str(folder))
    return (folder / "out/x").read_text().strip()
