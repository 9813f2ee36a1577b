"""`prov diff` of builds."""

from __future__ import annotations

import pytest

from tests.cli.changes import grouped, harden
from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


def test_diff_of_a_build_without_a_run(chain: Project) -> None:
    chain.edit("recipes/x.toml", "cat src", "cat  src")
    chain.prov("build", "x:go")
    answer = chain.ask("diff", "latest")
    assert "script" in answer
    chain.prov("build", "x:go")
    done = chain.prov("diff", "latest")
    assert done.stdout == answer
    assert "no task ran in build" in done.stderr


def test_flag_in_a_class_is_one_cause_of_a_build(story: Project) -> None:
    harden(story)
    story.prov("build", "demo-image")
    answer = story.json("diff", "latest")
    tasks = [
        f"{recipe}:{task}"
        for recipe in ("greet", "hello", "words")
        for task in ("compile", "configure", "install")
    ]
    assert grouped(answer) == {("variable", "CFLAGS"): tasks}
    assert {task["task"] for task in answer["tasks"] if task["root_cause"]} == set(tasks)
    text = story.ask("diff", "latest")
    in_order(
        text,
        "root causes:",
        "variable CFLAGS",
        "in greet:compile, greet:configure, greet:install and 6 more",
    )
    assert "affected: 12 tasks: demo-image:image, demo-image:rootfs" in text
