"""Run a command under limits; any program serves as the transfer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prov.transport.errors import Stalled, TooMuch, Unreachable
from prov.transport.git import make_scratch
from prov.transport.watch import Finished, Watch, run_watched

WATCH = Watch(remote="m", patience=20.0, most=1 << 40, memory=None, interactive=False)
Run = Callable[..., Finished]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_scratch(tmp_path / "git")


@pytest.fixture
def run(folder: Path) -> Run:
    def run(script: str, data: bytes = b"", watch: Watch = WATCH) -> Finished:
        return run_watched(["sh", "-c", script], folder, data, dict(os.environ), watch)

    return run


def test_the_result_of_a_program(run: Run) -> None:
    assert run("cat; echo bad >&2; exit 3", b"data") == Finished(3, b"data", "bad\n")


def test_no_data(run: Run) -> None:
    begun = time.monotonic()
    with pytest.raises(Stalled, match="no data for"):
        run("sleep 60", watch=replace(WATCH, patience=0.3))
    assert time.monotonic() - begun < 5


def test_too_little_data(run: Run) -> None:
    """The program writes a byte from time to time and reads nothing."""
    script = """exec python3 -c '
import sys, time
while True:
    time.sleep(0.1)
    sys.stdout.buffer.write(b"x")
    sys.stdout.buffer.flush()
'"""
    with pytest.raises(Stalled, match="fewer than 300 bytes"):
        run(script, watch=replace(WATCH, patience=0.3))


def test_too_much_is_stored(run: Run, folder: Path) -> None:
    script = f"head -c 2000000 /dev/zero > '{folder}/objects/pack/tmp_pack_x'; sleep 60"
    with pytest.raises(TooMuch, match="more than 1000000 bytes"):
        run(script, watch=replace(WATCH, most=1_000_000))
    assert list((folder / "objects/pack").iterdir()) == []


def test_too_much_is_printed(run: Run) -> None:
    with pytest.raises(TooMuch):
        run("cat /dev/zero")


def test_the_disk_is_not_filled(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prov.transport.pace.RESERVE", 1 << 60)
    script = f"head -c 20000000 /dev/zero > '{folder}/objects/pack/tmp_pack_x'; sleep 60"
    with pytest.raises(Unreachable, match="MiB free"):
        run(script)


def test_child_processes_are_killed(run: Run, folder: Path) -> None:
    for interactive in (False, True):
        with pytest.raises(Stalled):
            run(
                f"sleep 60 & echo $! > '{folder}/pid'; wait",
                watch=replace(WATCH, patience=0.3, interactive=interactive),
            )
        pid = int((folder / "pid").read_text())
        deadline = time.monotonic() + 5
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_memory_has_a_limit(run: Run) -> None:
    watch = replace(WATCH, memory=20 << 20)
    done = run(
        "sleep 0.2; exec head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null", watch=watch
    )
    assert done.words
