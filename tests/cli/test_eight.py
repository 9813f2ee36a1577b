"""Eight processes at once in one store: they build, capture, collect garbage and query."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.commands import PROV

pytestmark = pytest.mark.process

SECONDS = 12.0
ROUNDS = 2
SETTINGS = 'sandbox = "none"\n[variables]\nHOSTTOOLS = "sh cat cp mkdir ls"\n'
RECIPE = """
version = "1"
build = ["write"]
sources = [{{ file = "words" }}]
[tasks.make]
inputs = ["sources"]
script = 'cat sources/words > made; cp made copy'
[tasks.write]
after = ["make"]
outputdir = "out"
script = 'cp made out/{name}'
"""


class Crowd:
    """Processes that each repeat one action until the time is up, at least twice."""

    def __init__(self, store: Path) -> None:
        self.environment = {**os.environ, "PROV_STORE": str(store)}
        self.failures: list[str] = []
        """A text for each command that failed."""
        self.rounds: dict[str, int] = {}
        self.threads: list[threading.Thread] = []

    def prov(self, folder: Path, *words: str) -> str:
        done = subprocess.run(
            [PROV, *words], cwd=folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            self.failures.append(
                f"{folder.name}: {words}:"
                f" {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
            )
        return done.stdout

    def start(self, name: str, act: Callable[[int], None]) -> None:
        def go() -> None:
            number, end = 0, time.monotonic() + SECONDS
            while (number < ROUNDS or time.monotonic() < end) and not self.failures:
                act(number)
                number += 1
            self.rounds[name] = number

        self.threads.append(threading.Thread(target=go))
        self.threads[-1].start()

    def wait(self) -> None:
        for thread in self.threads:
            thread.join()
        assert self.failures == []


def make_project(root: Path, name: str) -> Project:
    project = Project(root / name)
    project.write("prov.toml", SETTINGS)
    project.write(f"recipes/{name}/{name}.toml", RECIPE.format(name=name))
    project.write(f"recipes/{name}/words", "first\n")
    return project


def test_eight_processes_lose_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    crowd = Crowd(store)
    projects = {name: make_project(tmp_path, name) for name in ("one", "two", "three")}
    for name, project in projects.items():
        crowd.prov(project.root, "build", name)
    folders = [tmp_path / "left", tmp_path / "right"]

    def build(name: str, number: int) -> None:
        projects[name].write(f"recipes/{name}/words", f"{number}\n" * 200)
        crowd.prov(projects[name].root, "build", name)

    def capture(folder: Path, number: int) -> None:
        folder.mkdir(exist_ok=True)
        (folder / f"f{number % 5}").write_text(f"{folder.name} {number}\n" * 50)
        crowd.prov(folder.parent, "capture", str(folder), "--as", f"{folder.name}:capture")

    for name in projects:
        crowd.start(name, lambda number, name=name: build(name, number))  # type: ignore[misc]
    for folder in folders:
        crowd.start(folder.name, lambda number, folder=folder: capture(folder, number))  # type: ignore[misc]
    crowd.start(
        "gc",
        lambda _: void(
            crowd.prov(tmp_path, "gc", "--days", "0", "--builds", "3", "--workdirs", "1")
        ),
    )
    crowd.start("log", lambda _: void(crowd.prov(tmp_path, "log")))
    crowd.start("builds", lambda _: void(crowd.prov(projects["one"].root, "builds")))
    crowd.wait()
    assert min(crowd.rounds.values()) >= ROUNDS, crowd.rounds
    git = ["git", f"--git-dir={store}"]
    done = subprocess.run(
        [*git, "fsck", "--strict", "--no-dangling"], capture_output=True, text=True
    )
    assert (
        done.returncode,
        [line for line in done.stderr.splitlines() if "notice" not in line],
    ) == (0, [])
    crowd.prov(tmp_path, "fsck")
    for name, project in projects.items():
        words = (project.root / f"recipes/{name}/words").read_text()
        assert "nothing to do" in crowd.prov(project.root, "build", name)
        # gc may have deleted the WORKDIR of the run, since it keeps only those of the last build
        crowd.prov(
            tmp_path, "checkout", f"latest/{name}:write@output", str(tmp_path / f"out-{name}")
        )
        assert crowd.failures == []
        assert (tmp_path / f"out-{name}" / "out" / name).read_text() == words
    for folder in folders:
        crowd.prov(
            tmp_path, "checkout", f"{folder.name}:capture", str(tmp_path / f"again-{folder.name}")
        )
        contents = {path.name: path.read_text() for path in folder.iterdir()}
        assert {
            path.name: path.read_text() for path in (tmp_path / f"again-{folder.name}").iterdir()
        } == contents
    assert crowd.failures == []


def void(_answer: str) -> None:
    """Ignore an answer."""
