"""A project that tests change, build and query, with `prov` as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.commands import Done, run_prov
from tests.schema.check import read_answer

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
HOSTTOOLS = "sh cat chmod cp date ln mkdir mv rm touch true"


@dataclass(slots=True)
class Project:
    """A folder with a project, and the commands that run in it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that override the caller's environment."""

    def prov(self, *arguments: str, code: int | None = 0, typed: str = "") -> Done:
        environment = {**os.environ, **self.environment}
        done = run_prov(*arguments, cwd=self.root, environment=environment, stdin=typed)
        assert code in (
            None,
            done.returncode,
        ), f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def ask(self, *arguments: str, code: int = 0) -> str:
        """Return the standard output of a command."""
        return self.prov(*arguments, code=code).stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return a command's answer, checked against its schema."""
        options = arguments.index("--") if "--" in arguments else len(arguments)
        words = (*arguments[:options], "--json", *arguments[options:])
        return read_answer(self.prov(*words, code=code).stdout)

    def refused(self, *arguments: str) -> str:
        """Return the error of a command that exits with 1, joined to one line."""
        return " ".join(self.prov(*arguments, code=1).stderr.split())

    def git(self, *arguments: str) -> str:
        command = ["git", "--git-dir=.prov", *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new))

    def write(self, path: str, text: str) -> Path:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
        return full

    def append(self, path: str, text: str) -> None:
        self.write(path, (self.root / path).read_text() + text)

    def task(self, script: str, recipe: str = "a", more: str = "") -> None:
        """Write a recipe of one task, `go`."""
        text = (
            "version = '1'\nbuild = ['go']\n[tasks.go]\noutputdir = 'out'\nscript ="
            f" '''{script}'''\n{more}"
        )
        self.write(f"recipes/{recipe}.toml", text)

    def tag(self, key: str) -> str:
        """Return the tag of a task's newest run."""
        tag = self.json("show", key)["run"]["tag"]
        assert isinstance(tag, str)
        return tag

    def refs(self) -> str:
        return self.git("for-each-ref")

    def leftovers(self) -> list[str]:
        """Return the leftovers of restored tasks."""
        folder = self.root / ".prov/prov/aside"
        return [
            *map(str, folder.iterdir() if folder.exists() else ()),
            *self.git("for-each-ref", "refs/prov/aside").split(),
        ]


def small_project(root: Path) -> Project:
    """Create a project without recipes, whose tasks have no sandbox and few tools."""
    project = Project(root)
    project.write(
        "prov.toml",
        f'recipes = ["recipes"]\nsandbox = "none"\n[variables]\nHOSTTOOLS = "{HOSTTOOLS}"\n',
    )
    return project


LINKED = (".prov/objects", ".prov/prov/pool", ".prov/prov/toolchains")
"""Folders of files that prov never changes."""


def copy_project(source: Path, root: Path) -> None:
    """Copy a project with its store to a new folder. The large files of its store are linked."""
    large = {str(source / folder) for folder in LINKED}

    def skipped(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if os.path.join(folder, name) in large}

    shutil.copytree(source, root, symlinks=True, ignore=skipped)
    for folder in LINKED:
        if (source / folder).exists():
            subprocess.run(["cp", "-al", source / folder, root / folder], check=True)


def in_order(text: str, *expected: str) -> None:
    """Assert that a text has the expected lines in this order.

    Other lines may stand between them. Indentation is ignored.
    """
    lines = iter(line.strip() for line in text.splitlines())
    for line in expected:
        assert line in lines, f"line {line!r} is missing or out of order in:\n{text}"
