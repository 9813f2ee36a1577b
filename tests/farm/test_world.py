"""The world of fixtures/world, on farms whose workers are killed: the ids of one machine.

Run by `make farm`, for an hour. FARM_WORKERS="1 2 4" chooses the numbers of workers.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import PROV
from tests.farm.machines import Machines, machines, outputs, sound, variables
from tests.world import FIXTURE, copy_of_the_fixture

pytestmark = [pytest.mark.process, pytest.mark.farm]

PROGRESS = "progress"
KILL_EVERY = 10.0
"""Seconds between two kills of a random worker."""
WORKERS = [int(number) for number in os.environ.get("FARM_WORKERS", "1 2 4").split()]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the world, built on this machine."""
    got = subprocess.run([FIXTURE / "get-sources"], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(got.stderr.strip() or "get-sources failed")
    project = copy_of_the_fixture(tmp_path_factory.mktemp("here") / "world")
    build(project, tmp_path_factory.mktemp("home"))
    return project


def build(project: Path, home: Path, *options: str) -> None:
    """Build the world; write the progress to a file."""
    begun = time.monotonic()
    with (home / PROGRESS).open("w") as progress:
        done = subprocess.run(
            [PROV, "build", *options, "world"],
            cwd=project,
            env=variables(home),
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
            check=False,
        )
    print(f"{options}: {time.monotonic() - begun:.0f} s; {done.stdout.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-3000:] + (home / PROGRESS).read_text()[-3000:]


@contextmanager
def killing(farm: Machines, progress: Path) -> Iterator[list[str]]:
    """Kill a random worker every ten seconds, and start it again; yield the killed ones.

    A third loss would fail a task, so none is killed while a task has lost two workers.
    """
    killed: list[str] = []
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.wait(KILL_EVERY):
            if has_lost_two(progress.read_text()):
                continue
            name = random.choice([*farm.workers])
            killed.append(name)
            farm.kill(name)
            farm.add(name)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stopped.set()
        thread.join()


def has_lost_two(progress: str) -> bool:
    """Return whether a task that has not finished has lost two workers."""
    losses = Counter(re.findall(r"^note: (\S+): worker \S+ was lost", progress, re.MULTILINE))
    ended = set(re.findall(r"^task \d+ of \d+: (\S+)", progress, re.MULTILINE))
    return any(count > 1 for task, count in losses.items() if task not in ended)


@pytest.mark.parametrize("number", WORKERS)
def test_a_farm_makes_the_world(here: Path, tmp_path: Path, number: int) -> None:
    project = copy_of_the_fixture(tmp_path / "world")
    settings = (project / "prov.toml").read_text()
    (project / "prov.toml").write_text(f"{settings}\n[farm]\nshortest = 0.0\nverify = 0.01\n")
    names = [f"w{place}" for place in range(number)]
    with machines(tmp_path / "home", *names) as farm:
        progress = farm.folder / PROGRESS
        progress.touch()
        with killing(farm, progress) as killed:
            build(project, farm.folder, f"--farm={farm.address}")
        lost = progress.read_text().count(" was lost")
        print(f"{number} workers; {len(killed)} kills; {lost} orders lost")
    assert killed
    assert outputs(project) == outputs(here)
    sound(project)
    shutil.rmtree(tmp_path, ignore_errors=True)
