"""`prov run`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prov.processes import run_command
from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_arguments_of_a_command_are_unchanged(small: Project) -> None:
    words = ["mc:qemu:core-image", "a/mc:b:c:d", "--", "-x"]
    answer = small.ask("run", "--as", "app:list", "--", "printf", "%s\\n", *words)
    assert answer.splitlines() == words


def test_run_does_not_wait_for_background_processes(small: Project, tmp_path: Path) -> None:
    begun = time.monotonic()
    script = f"(sleep 3; echo late; echo alive > {tmp_path}/alive) & echo started"
    assert small.ask("run", "--as", "app:start", "--", "sh", "-c", script) == "started\n"
    ended = run_command(["sh", "-c", "sleep 30 & cat; exit 4"], data=b"input")
    assert (ended.status, ended.output) == (4, b"input")
    assert time.monotonic() - begun < 3
    small.ask(
        "run", "--as", "app:next", "--", "true"
    )  # the background process does not hold the store's lock
    deadline = time.monotonic() + 20
    while not (tmp_path / "alive").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "alive").exists(), "ended by SIGPIPE"
