"""The world of fixtures/world, on farms whose workers are killed: the ids of one machine.

Run by `make farm`, for an hour. FARM_WORKERS="1 2 4" chooses the numbers of workers.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import PROV
from tests.farm.machines import Machines, machines, outputs, sound, variables
from tests.world import FIXTURE, copy_of_the_fixture

pytestmark = [pytest.mark.process, pytest.mark.farm]

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


def build(project: Path, home: Path, *options: str) -> str:
    """Build the world; return the progress."""
    begun = time.monotonic()
    done = subprocess.run(
        [PROV, "build", *options, "world"],
        cwd=project,
        env=variables(home),
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{options}: {time.monotonic() - begun:.0f} s; {done.stdout.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stderr


@contextmanager
def killing(farm: Machines) -> Iterator[list[str]]:
    """Kill a random worker every ten seconds, and start it again; yield the killed ones."""
    killed: list[str] = []
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.wait(KILL_EVERY):
            # the story of a task that lost two workers is tested elsewhere: spare the others
            name = random.choice([name for name in farm.workers if name not in killed[-2:]] or [""])
            if name:
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


@pytest.mark.parametrize("number", WORKERS)
def test_a_farm_makes_the_world(here: Path, tmp_path: Path, number: int) -> None:
    project = copy_of_the_fixture(tmp_path / "world")
    settings = (project / "prov.toml").read_text()
    (project / "prov.toml").write_text(f"{settings}\n[farm]\nshortest = 0.0\nverify = 0.01\n")
    names = [f"w{place}" for place in range(number)]
    with machines(tmp_path / "home", *names) as farm, killing(farm) as killed:
        progress = build(project, farm.folder, f"--farm={farm.address}")
    print(f"{number} workers; {len(killed)} kills; lost {progress.count(' was lost')}")
    assert killed
    assert outputs(project) == outputs(here)
    sound(project)
    shutil.rmtree(tmp_path, ignore_errors=True)
