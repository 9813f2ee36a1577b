"""A cache folder that others can write to: publishing and fetching runs none of their code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

HOOKS = (
    "pre-receive",
    "update",
    "post-receive",
    "post-update",
    "reference-transaction",
    "proc-receive",
    "pre-auto-gc",
)


@pytest.fixture
def published(small: Project, tmp_path: Path) -> tuple[Project, Path, Path]:
    """A project that publishes to a folder, the folder, and another user's program.

    The program writes a marker file.
    """
    cache, mark = tmp_path / "cache", tmp_path / "mark"
    small.task("echo 1 > out/x")
    small.prov("remote", "add", "team", str(cache), "--push", "--trust", "none")
    small.prov("build", "a:go")
    small.prov("push")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {mark}\ncat\n")
    program.chmod(0o755)
    return small, cache, program


def tip(cache: Path) -> str:
    command = [
        "git",
        "-c",
        "safe.directory=*",
        f"--git-dir={cache}",
        "rev-parse",
        "refs/heads/prov/index",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def again(project: Project) -> None:
    """Publish something new, fetch, and collect."""
    project.edit("recipes/a.toml", "echo ", "echo x")
    project.prov("build", "a:go", code=None)
    project.prov("push", code=None)
    project.prov("pull", code=None)
    project.prov("remote", "gc", "team", "--days", "0", code=None)


def test_hooks_do_not_run(published: tuple[Project, Path, Path], tmp_path: Path) -> None:
    project, cache, program = published
    (cache / "hooks").mkdir(exist_ok=True)
    for name in HOOKS:
        (cache / "hooks" / name).symlink_to(program)
    before = tip(cache)
    again(project)
    assert not (tmp_path / "mark").exists()
    assert tip(cache) != before, "it was published"


@pytest.mark.parametrize(
    "settings",
    [
        (
            "[core]\n\tfsmonitor = {0}\n\talternateRefsCommand = {0}\n\tsshCommand = {0}\n\tpager ="
            " {0}\n"
        ),
        "[gc]\n\trecentObjectsHook = {0}\n\tauto = 1\n[receive]\n\tautogc = true\n",
        "[uploadpack]\n\tpackObjectsHook = {0}\n",
        (
            "[core]\n\tbare = false\n\tworktree = {1}\n[receive]\n\tdenyCurrentBranch ="
            ' updateInstead\n[filter "x"]\n\tsmudge = {0}\n\tclean = {0}\n'
        ),
        '[remote "e"]\n\tpromisor = true\n\turl = ext::{0}\n\tuploadpack = {0}\n',
    ],
    ids=["core", "gc", "uploadpack", "work tree", "promisor"],
)
def test_settings_run_nothing(
    settings: str, published: tuple[Project, Path, Path], tmp_path: Path
) -> None:
    project, cache, program = published
    tree = tmp_path / "tree"
    tree.mkdir()
    (cache / "info").mkdir(exist_ok=True)
    (cache / "info/attributes").write_text("* filter=x\n")
    (cache / "HEAD").write_text("ref: refs/heads/prov/index\n")
    with (cache / "config").open("a") as config:
        config.write(settings.format(program, tree))
    again(project)
    assert not (tmp_path / "mark").exists()
    assert list(tree.iterdir()) == []


def test_a_hook_of_the_configuration_is_refused(published: tuple[Project, Path, Path]) -> None:
    """Newer versions of git run it, and no option prevents that."""
    project, cache, program = published
    with (cache / "config").open("a") as config:
        config.write(f'[hook "h"]\n\tcommand = {program}\n\tevent = post-receive\n')
    project.edit("recipes/a.toml", "echo ", "echo x")
    project.prov("build", "a:go", "--offline")
    said = project.refused("push")
    assert "hook.h.command" in said and "publish over ssh" in said
