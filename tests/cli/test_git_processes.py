"""Commands that read a store, capture or build start no process of git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import run_prov

FOLDERS = 12
READING = (
    ["log"],
    ["log", "part1:make"],
    ["show", "part1:make"],
    ["diff", "part1:make"],
    ["why", "app:make"],
    ["blame", "file"],
    ["plan", "app"],
    ["status"],
    ["builds"],
    ["rev-parse", "part1:make"],
    ["checkout", "part1:make", "out"],
    ["compose", "root", *(f"part{number}:make" for number in range(FOLDERS))],
)


class Calls:
    """A git on PATH that counts how often it is started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        program = folder / "bin" / "git"
        program.parent.mkdir()
        program.write_text(
            f'#!/bin/sh\necho "$*" >> "{self.log}"\nexec {shutil.which("git")} "$@"\n'
        )
        program.chmod(0o755)

    def of(self, *words: str) -> list[str]:
        """Run a command of prov; return the command lines of git that it started."""
        self.log.write_text("")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
        run_prov(*words, cwd=self.folder, environment=environment).check_returncode()
        return self.log.read_text().splitlines()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    calls = Calls(tmp_path_factory.mktemp("calls"))
    settings = 'sandbox = "none"\n[variables]\nHOSTTOOLS = "sh"\n'
    (calls.folder / "prov.toml").write_text(settings)
    (calls.folder / "recipes").mkdir()
    (calls.folder / "recipes" / "app.toml").write_text(
        'version = "1"\nbuild = ["make"]\n'
        '[tasks.make]\noutputdir = "image"\nscript = "echo 1 > image/file"\n'
    )
    calls.of("build", "app")
    for number in range(FOLDERS):
        folder = calls.folder / f"d{number}"
        folder.mkdir()
        (folder / f"file{number}").write_text(str(number))
        calls.of("capture", folder.name, "--as", f"part{number}:make")
    return calls


@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_a_reading_command_starts_no_git(calls: Calls, words: list[str]) -> None:
    listing = words == ["log"]  # git sorts all runs of a store
    assert calls.of(*words)[2 if listing else 0 :] == []


WRITING = (
    ["capture", "d1", "--as", "part1:make"],
    ["run", "--as", "part1:list", "-C", "d1", "--", "ls"],
    ["build", "app"],
)


@pytest.mark.parametrize("words", WRITING, ids=lambda words: words[0])
def test_a_writing_command_starts_no_git(calls: Calls, words: list[str]) -> None:
    assert calls.of(*words) == []


@pytest.mark.parametrize(("options", "processes"), [([], 1), (["--gitignore"], 3)])
def test_a_run_in_a_work_tree_asks_git_for_its_state(
    calls: Calls, options: list[str], processes: int
) -> None:
    if not (calls.folder / "tree").exists():
        subprocess.run(["git", "init", "-q", calls.folder / "tree"], check=True)
    words = ["run", "--as", "part1:list", "-C", "tree", *options, "--", "ls"]
    commands = [line for line in calls.of(*words) if line != "version"]
    assert len(commands) == processes, commands
