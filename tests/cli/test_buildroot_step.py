"""The program that Buildroot calls before and after each step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prov.buildroot.setup import SCRIPT
from tests.cli.buildroot import call_script
from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_steps_are_recorded(configured: Project) -> None:
    configured.ask("buildroot", "setup", ".")
    for step in ("configure", "build"):
        for moment in ("start", "end"):
            done = call_script(configured, moment, step, "zlib")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    runs = configured.json("log")["runs"]
    assert [run["task"] for run in runs] == [
        "zlib:build",
        "zlib:configure",
    ]
    assert configured.ask("builds").endswith(f"buildroot-20260102-030405-{os.getpid()}\n")


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_an_error_is_one_line(configured: Project, options: tuple[str, ...], code: int) -> None:
    configured.ask("buildroot", "setup", *options, ".")
    (configured.root / ".prov/config").unlink()
    (configured.root / ".prov/HEAD").unlink()
    (configured.root / ".prov/HEAD").mkdir()
    done = call_script(configured, "start", "build", "zlib")
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("prov: start build zlib: not recorded: ")


def test_a_call_without_facts_names_the_remedy(configured: Project) -> None:
    configured.ask("buildroot", "setup", ".")
    done = subprocess.run(
        [configured.root / SCRIPT, "start", "build", "zlib"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "is not an absolute path" in done.stderr
    assert "hint: run `prov buildroot setup DIR`" in done.stderr


def test_calls_with_closed_streams_record(configured: Project) -> None:
    configured.ask("buildroot", "setup", ".")
    script = (
        f"{configured.root / SCRIPT} --make=20260102-030405-{os.getpid()}"
        f" --directory={configured.root}/build/zlib"
    )
    for moment in ("start", "end"):
        subprocess.run(
            ["sh", "-c", f"{script} {moment} build zlib <&- >&- 2>&-"],
            preexec_fn=lambda: os.umask(0o077),
            check=True,
        )
    assert "zlib:build" in configured.ask("log")


def test_the_script_uses_the_same_python(configured: Project) -> None:
    configured.ask("buildroot", "setup", ".")
    assert str(Path(sys.executable).parent) in (configured.root / SCRIPT).read_text()
