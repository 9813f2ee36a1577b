"""`prov rerun`."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.broken import break_it
from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


def test_failed_task_fails_again_or_is_reported(scene: Project, small: Project) -> None:
    break_it(scene)
    assert scene.ask("rerun", "hello:compile") == "1 task repeated: identical\n"
    flag = small.root / "flag"
    small.task(f"cat {flag} > out/x")
    small.prov("build", "a", code=1)
    flag.write_text("now\n")
    in_order(
        small.ask("rerun", "a:go", code=1), "a:go: the recorded run failed, but the rerun succeeded"
    )
    flag.unlink()
    assert small.ask("rerun", "a:go") == "1 task repeated: identical\n"


def test_task_that_fails_now_is_reported_with_its_log(small: Project) -> None:
    flag = small.write("flag", "there\n")
    small.task(f"echo looking; cat {flag} > out/x")
    small.prov("build", "a")
    flag.unlink()
    for command in ("rerun", "reproduce"):
        text = small.ask(command, "a:go", code=1)
        in_order(text, "a:go: exit status 1", "looking", "1 task repeated: different: a:go")
    assert small.leftovers() == []


def test_rerun_of_an_old_build_uses_its_inputs(scene: Project) -> None:
    scene.edit("recipes/greet/greet/greet.h", "unsigned how);", "int how);")
    scene.edit("recipes/greet/greet/greet.c", "unsigned how)", "int how)")
    scene.prov("build", "demo-image")
    shutil.rmtree(scene.root / "build/work")
    for build in ("latest", "latest~1"):
        assert (
            scene.ask("rerun", "hello:compile", "--build", build) == "1 task repeated: identical\n"
        )
