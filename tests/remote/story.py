"""Machines that share results: a small project on each, and shared caches."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cli.story import Project
from tests.servers.proxy import Line
from tests.servers.server import Server

FILES = 40
"""Number of files in the outputs of the library and the app."""
SIZE = 3000
"""Bytes in each file."""
PATIENCE = 30.0
"""Seconds after which `until` fails."""

SETTINGS = """
recipes = ["recipes"]
sandbox = "none"
environment = ["SHOWN"]
[variables]
HOSTTOOLS = "sh cat cp mkdir ls head sleep"
"""
WORDS = """
version = "1"
build = ["stage"]
sources = [{ file = "words" }]
[tasks.take]
inputs = ["sources"]
script = 'ls sources/words'
[tasks.make]
after = ["take"]
outputdir = "image"
script = '''
mkdir image/usr
cp sources/words/* image/usr
cat sources/words/* > all
'''
[tasks.stage]
from = ["make"]
outputdir = "sysroot"
script = 'cp -r image/usr sysroot/'
"""
APP = """
version = "1"
build = ["pack"]
depends = ["words"]
sources = [{ file = "main" }]
[tasks.make]
inputs = ["sources"]
needs = ["@depends:stage"]
outputdir = "image"
script = '''
cp -r "$RECIPE_SYSROOT/usr" image/usr
cp sources/main image/main
'''
[tasks.pack]
from = ["make"]
outputdir = "app"
deploy = true
script = 'cp -r image/* app/'
"""
ONE = """
version = "1"
build = ["go"]
[tasks.go]
outputdir = "out"
script = '''{script}'''
"""
NOT_COMPLAINTS = ("note: no sandbox", "note: transferring data")
"""Beginnings of notes that a slow machine, or one without bubblewrap, adds."""
TASKS = ("words:take", "words:make", "words:stage", "app:make", "app:pack")


def noise(seed: str, size: int = SIZE) -> str:
    """Return a text that compresses poorly."""
    return random.Random(seed).randbytes(size).hex()[:size] + "\n"


class Machine(Project):
    """A machine with the project and its own store."""

    def make(self) -> Machine:
        self.write("prov.toml", SETTINGS)
        self.write("recipes/words/words.toml", WORDS)
        self.write("recipes/app/app.toml", APP)
        self.write("recipes/app/main", "main\n")
        for number in range(FILES):
            self.write(f"recipes/words/words/{number:02}", noise(f"words {number}"))
        return self

    def change(self, text: str, file: int = 7) -> None:
        """Change one source file of the library."""
        self.write(f"recipes/words/words/{file:02}", noise(text))

    def deployed(self) -> dict[str, str]:
        folder = self.root / "build/deploy"
        return {
            str(path.relative_to(folder)): path.read_text()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def wanted(self) -> dict[str, str]:
        """Return the files that the sources should deploy."""
        words = self.root / "recipes/words/words"
        return {"main": (self.root / "recipes/app/main").read_text()} | {
            f"usr/{path.name}": path.read_text() for path in words.iterdir()
        }

    def build(self, *arguments: str, code: int | None = 0) -> str:
        """Build the app; return the counts without seconds and bytes."""
        done = self.prov("build", "app", *arguments, code=code)
        self.said = done.stderr
        return done.stdout.splitlines()[-1].split(";")[0] if done.stdout else ""

    said = ""
    """Notes of the last build."""

    def outputs(self) -> set[str]:
        """Return the tasks with a recorded output."""
        rows = self.git("for-each-ref", "--format=%(refname)", "refs/prov/output").split()
        return {":".join(row.split("/")[3:5]) for row in rows}

    def objects(self) -> set[str]:
        return all_objects(self.root / ".prov")

    def is_clean(self) -> None:
        is_clean(self.root / ".prov")

    def add(self, name: str, url: str, *options: str) -> None:
        trust = [] if url.startswith("/") or "--trust" in options else ["--trust", "none"]
        self.prov("remote", "add", name, url, *trust, *options)

    def join(self, name: str, cache: Cache, *options: str) -> None:
        """Add a cache as a remote."""
        self.environment |= cache.server.environment if cache.server else {}
        self.add(name, cache.url, *options)

    def complaint(self, *arguments: str) -> str:
        """Return the message of a command that fails with an expected error: one line and optional
        hints.
        """
        said = self.prov(*arguments, code=1).stderr.splitlines()
        said = [line for line in said if not line.startswith(NOT_COMPLAINTS)]
        assert said[0].startswith("prov: ")
        assert [line for line in said[1:] if not line.startswith("  hint: ")] == []
        return said[0]

    def one(self, recipe: str, script: str) -> None:
        """Add a recipe with one task, `go`."""
        self.write(f"recipes/{recipe}.toml", ONE.format(script=script))


@dataclass(frozen=True, slots=True)
class Cache:
    """A remote: its repository, and, if present, its server and the line to it."""

    path: Path
    url: str
    server: Server | None = None
    line: Line | None = None

    def moved(self) -> int:
        """Return the bytes sent over the line so far; 0 without a line."""
        return self.line.down + self.line.up if self.line else 0

    def requests(self, *, at_least: int = 0) -> list[str]:
        assert self.server is not None
        return self.server.requests(at_least=at_least)

    def git(self, *arguments: str, data: str = "") -> str:
        return git(self.path, *arguments, data=data)

    def refs(self) -> set[str]:
        return set(self.git("for-each-ref", "--format=%(refname)").split())

    def published(self) -> list[str]:
        """Return the lines of all publications: `task KEY HASH …`."""
        commits = self.git("rev-list", "--reverse", "prov/index").split()
        found = []
        for commit in commits:
            for path in self.git("ls-tree", "-r", "--name-only", commit, "publications").split():
                found += self.git("show", f"{commit}:{path}").splitlines()
        return [line for line in found if line.startswith("task ")]

    def keys(self) -> list[str]:
        """Return the published tasks, in order."""
        return [line.split(" ")[1] for line in self.published()]

    def rewrite(self, change: Callable[[str], str] = lambda text: text) -> None:
        """Replace the index's history with one commit of all publications, changed by `change`."""
        commits = self.git("rev-list", "--reverse", "prov/index").split()
        rows = {}
        for commit in commits:
            for path in self.git("ls-tree", "-r", "--name-only", commit, "publications").split():
                text = change(self.git("show", f"{commit}:{path}"))
                blob = self.git("hash-object", "-w", "--stdin", data=text).strip()
                rows[path.rpartition("/")[2]] = f"100644 blob {blob}"
        folder = self.git(
            "mktree", data="".join(f"{row}\t{name}\n" for name, row in rows.items())
        ).strip()
        tree = self.git("mktree", data=f"040000 tree {folder}\tpublications\n").strip()
        by = ("-c", "user.name=a", "-c", "user.email=a@b")
        commit = self.git(*by, "commit-tree", "-m", "anew", tree).strip()
        self.git("update-ref", "refs/heads/prov/index", commit)

    def is_clean(self) -> None:
        """Assert that the repository is valid, without branches of pushes or duplicate results."""
        expected = {"refs/heads/prov/index", "refs/heads/prov/content"}
        # a push in the background deletes its branches last, possibly after the build
        until(lambda: self.refs() <= expected, "pushes have deleted their branches")
        is_clean(self.path)
        results = [
            tuple(line.split(" ")[2:5:2]) for line in self.published()
        ]  # task hash and output
        assert len(results) == len(set(results))


def git(folder: Path, *arguments: str, data: str = "") -> str:
    done = subprocess.run(
        ["git", f"--git-dir={folder}", *arguments], input=data, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def is_clean(folder: Path) -> None:
    command = [
        "git",
        f"--git-dir={folder}",
        "fsck",
        "--strict",
        "--full",
        "--no-dangling",
        "--no-progress",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if not line.startswith("notice: ")] == []
    assert done.returncode == 0


def all_objects(folder: Path) -> set[str]:
    rows = git(
        folder, "cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)"
    )
    return set(rows.split())


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail after PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)
