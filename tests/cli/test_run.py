"""`prov run`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prov.processes import run_command
from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_words_of_a_command_are_the_users(small: Project) -> None:
    words = ["mc:qemu:core-image", "a/mc:b:c:d", "--", "-x"]
    told = small.ask("run", "--as", "app:list", "--", "printf", "%s\\n", *words)
    assert told.splitlines() == words


def test_what_stays_in_the_background_is_not_waited_for(small: Project, tmp_path: Path) -> None:
    begun = time.monotonic()
    script = f"(sleep 3; echo late; echo alive > {tmp_path}/alive) & echo started"
    assert small.ask("run", "--as", "app:start", "--", "sh", "-c", script) == "started\n"
    ended = run_command(["sh", "-c", "sleep 30 & cat; exit 4"], data=b"given")
    assert (ended.status, ended.output) == (4, b"given")
    assert time.monotonic() - begun < 3
    small.ask("run", "--as", "app:next", "--", "true")  # the store's lock is free
    deadline = time.monotonic() + 20
    while not (tmp_path / "alive").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "alive").exists(), "ended by SIGPIPE"
