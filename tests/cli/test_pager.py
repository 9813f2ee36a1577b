"""Long answers are shown in the pager that git would use."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from prov_cli.pager import pager_command

from tests.cli.story import Project
from tests.commands import PROV


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({"GIT_PAGER": "most", "PAGER": "more"}, "most"),
        ({"PAGER": "more -s"}, "more -s"),
        ({"PAGER": "cat"}, ""),
        ({"GIT_PAGER": "", "PAGER": "more"}, ""),
        ({"GIT_PAGER": "cat"}, ""),
        ({}, "less"),
    ],
)
def test_pager_is_chosen_as_by_git(
    environment: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.chdir(tmp_path)
    assert pager_command(environment) == command


def on_terminal(project: Project, *arguments: str, **environment: str) -> str:
    """Return the standard output of a command on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [PROV, *arguments],
        cwd=project.root,
        env={**os.environ, "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    printed = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        printed += block
    os.close(master)
    assert process.wait() == 0
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.process
def test_a_terminal_gets_colours_through_the_pager(two: Project) -> None:
    pager = two.write("pager", '#!/bin/sh\necho "pager LESS=$LESS"\ncat\n')
    pager.chmod(0o755)
    printed = on_terminal(two, "log", "a:go", GIT_PAGER=str(pager))
    assert printed.startswith("pager LESS=FRX\n")
    assert f"\x1b[33m{two.tag('a:go')}\x1b[m" in printed
    patch = on_terminal(two, "diff", "-p", "a:go~1@output", "a:go@output", GIT_PAGER=str(pager))
    assert "\x1b[31m-one\x1b[m\n\x1b[32m+two\x1b[m\n" in patch
    plain = on_terminal(two, "log", "a:go", GIT_PAGER=str(pager), NO_COLOR="1")
    assert plain.startswith("pager") and "\x1b" not in plain


@pytest.mark.process
@pytest.mark.parametrize("arguments", [("--no-pager", "log"), ("log", "--no-pager")])
def test_no_pager_prints_directly(two: Project, arguments: tuple[str, ...]) -> None:
    assert "pager" not in on_terminal(two, *arguments, GIT_PAGER="echo pager; cat")


@pytest.mark.process
def test_a_pipe_has_neither_pager_nor_colours(two: Project) -> None:
    two.environment = {"GIT_PAGER": "echo pager; cat"}
    answer = two.ask("log")
    assert "pager" not in answer and "\x1b" not in answer


@pytest.mark.process
def test_pager_that_ends_early_is_not_an_error(two: Project) -> None:
    on_terminal(two, "show", "a:go", GIT_PAGER="true")
