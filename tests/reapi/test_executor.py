"""Builds at a server: the same results as on one machine, whatever happens to the server."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.commands import run_prov
from tests.farm.machines import RECIPE, outputs, sound, until
from tests.reapi.server import Server, serving, write_server_project

pytestmark = pytest.mark.process

USE = """\
version = "1"
build = ["use"]
[tasks.use]
needs = ["lib:three"]
outputdir = "out"
script = "ls -R $RECIPE_SYSROOT > out/listing; echo $WORKDIR > out/p; ln -s p out/link"
"""
SLEEP = """\
version = "1"
build = ["go"]
[tasks.go]
script = "echo begun; sleep {seconds}; echo done > out/x"
outputdir = "out"
"""
UPLOADED = re.compile(r"(?P<actions>[0-9]+) actions, (?P<size>[0-9.]+) (?P<unit>[kMG]?B) uploaded")
BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def uploaded(text: str) -> tuple[int, float]:
    """Return the number of actions that a build reports, and the uploaded bytes."""
    parts = UPLOADED.search(text)
    assert parts, text
    return int(parts["actions"]), float(parts["size"]) * BYTES[parts["unit"]]


def test_a_server_makes_the_same_results(server: Server, tmp_path: Path) -> None:
    recipes = {"lib": RECIPE.format(word="three"), "app": USE}
    here = write_server_project(tmp_path / "here", recipes)
    there = write_server_project(tmp_path / "there", recipes)
    assert run_prov("build", "world", cwd=here).returncode == 0
    done = server.build(there, "world")
    assert done.returncode == 0, done.stderr
    assert outputs(here) == outputs(there)
    sound(there)
    assert uploaded(done.stderr)[0] == 4
    assert "nothing to do" in server.build(there, "world").stdout

    # a different store: only the orders themselves are new to the server
    again = write_server_project(tmp_path / "again", recipes)
    done = server.build(again, "world")
    assert done.returncode == 0, done.stderr
    actions, size = uploaded(done.stderr)
    assert actions == 4
    assert size < 100_000
    assert outputs(again) == outputs(here)


def test_a_failing_script_is_not_retried(server: Server, tmp_path: Path) -> None:
    script = 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo wrong; exit 3"\n'
    project = write_server_project(tmp_path / "project", {"app": script})
    done = server.build(project, "world")
    assert done.returncode == 1
    assert "failed: app:go: exit status 3" in done.stdout
    assert "wrong" in done.stdout
    assert uploaded(done.stderr)[0] == 1
    sound(project)


def test_an_interrupt_ends_the_action(server: Server, tmp_path: Path) -> None:
    seconds = 100_000 + os.getpid()
    script = SLEEP.format(seconds=seconds)
    project = write_server_project(tmp_path / "project", {"app": script})
    process = server.start_build(project, "world")
    until(lambda: running(f"sleep {seconds}"), "sleeping task")
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "interrupted" in out
    until(lambda: not running(f"sleep {seconds}"), "end of the action")
    sound(project)


def running(command: str) -> list[str]:
    """Return the processes with this command line."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode())
        except (OSError, UnicodeError):
            continue
    return [line for line in lines if line == command]


def test_without_the_server_tasks_run_here(tmp_path: Path) -> None:
    script = SLEEP.format(seconds=3)
    project = write_server_project(tmp_path / "project", {"app": script})
    with serving(tmp_path / "server") as own:
        process = own.start_build(project, "world")
        until(lambda: running("sleep 3"), "sleeping task")
        own.kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert "running all other tasks on this machine" in err
    assert "1 ran" in out
    sound(project)
