"""Changes of the demo, and what answers say of them."""

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
"""A task whose output has the time."""


def causes(answer: Any) -> list[tuple[str, str, str]]:
    """Return task, kind and name of each change that `prov why --json` gives for a cause."""
    return [
        (cause["task"], each["kind"], each["name"])
        for cause in answer["causes"]
        for each in cause["changes"]
    ]


def grouped(answer: Any) -> dict[tuple[str, str], list[str]]:
    """Return the root causes of `prov diff --json`, by kind and name."""
    return {(each["kind"], each["name"]): each["tasks"] for each in answer["causes"]}


def harden(story: Project) -> None:
    story.write("classes/harden.toml", "[variables]\nCFLAGS = '-O1 ${DEBUG_PREFIX_MAP}'\n")
    for recipe in ("words", "greet", "hello"):
        story.edit(
            f"recipes/{recipe}/{recipe}.toml", 'inherit = ["make"', 'inherit = ["harden", "make"'
        )
