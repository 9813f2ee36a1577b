"""Changes of the demo, and the causes in answers of prov."""

from __future__ import annotations

from typing import Any

from tests.cli.story import Project

CLOCK = """
[tasks.install]
script = '''
oe_runmake DESTDIR="$D" install
echo "/* $(date +%s%N) */" > "$D/usr/include/greet_when.h"
'''
"""
"""A task whose output contains the time."""


def causes(answer: Any) -> list[tuple[str, str, str]]:
    """Return task, kind and name of each change in an answer of `prov why --json`."""
    return [
        (cause["task"], change["kind"], change["name"])
        for cause in answer["causes"]
        for change in cause["changes"]
    ]


def grouped(answer: Any) -> dict[tuple[str, str], list[str]]:
    """Return the tasks of each root cause of `prov diff --json`, by kind and name."""
    return {(cause["kind"], cause["name"]): cause["tasks"] for cause in answer["causes"]}


def harden(story: Project) -> None:
    story.write("classes/harden.toml", "[variables]\nCFLAGS = '-O1 ${DEBUG_PREFIX_MAP}'\n")
    for recipe in ("words", "greet", "hello"):
        story.edit(
            f"recipes/{recipe}/{recipe}.toml", 'inherit = ["make"', 'inherit = ["harden", "make"'
        )
