"""Build directories with a small layer, in which BitBake and prov run as a user runs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.story import Project

META = Path(__file__).parents[2] / "fixtures" / "bitbake" / "meta-small"
BITBAKE_DIR = os.environ.get("BITBAKE_DIR", "")
PATIENCE = 60.0
"""Seconds to wait for an event before the test fails."""
EVERY = ("fetch", "unpack", "configure", "compile", "install", "stage")
TASKS = {f"{recipe}:do_{task}" for recipe in ("app", "tool", "words") for task in EVERY} | {
    "app:do_notes"
}
"""Tasks that a first build of `app` runs."""
APP = "meta-small/recipes/app/app_0.1.bb"
WORDS = "meta-small/recipes/words/files/words.txt"
BASE = "meta-small/classes/base.bbclass"
BBLAYERS = 'BBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "${TOPDIR}/meta-small"\n'

live = pytest.mark.skipif(not BITBAKE_DIR, reason="BITBAKE_DIR is not set")
"""Mark of tests that run BitBake."""


class BuildDirectory(Project):
    """A build directory that contains its layer."""

    def make(self, *, layer: bool = True) -> BuildDirectory:
        shutil.copytree(META, self.root / "meta-small")
        self.write("conf/bblayers.conf", BBLAYERS)
        self.write("conf/local.conf", "")
        if layer:
            self.prov("bitbake", "setup", ".")
        return self

    def setting(self, text: str) -> None:
        self.append("conf/local.conf", text + "\n")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start BitBake in a session of its own."""
        return subprocess.Popen(
            [f"{BITBAKE_DIR}/bin/{arguments[0]}", *arguments[1:]],
            cwd=self.root,
            env={
                **os.environ,
                "BBPATH": str(self.root),
                "BB_SERVER_TIMEOUT": "0",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def bitbake(self, *arguments: str, code: int = 0) -> str:
        """Run BitBake and return its output."""
        return self.ended(self.start("bitbake", *arguments), code=code)

    def ended(self, running: subprocess.Popen[str], *, code: int | None = 0) -> str:
        """Wait until a BitBake command and its server have exited, and return the output."""
        said = running.communicate(timeout=3 * PATIENCE)[0]
        assert code in (None, running.returncode), f"{running.args!r}: {running.returncode}\n{said}"
        self.wait(lambda: not self.servers(), "the server exits")
        return said

    def servers(self) -> list[int]:
        """Return the ids of BitBake's processes in this build directory."""
        return [
            pid for pid, words in _processes() if os.fsencode(self.root / "bitbake.sock") in words
        ]

    def wait(self, happened: Callable[[], object], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < until, f"never: {what}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the BitBake server of this build directory."""
        if (self.root / "bitbake.sock").exists():
            self.ended(self.start("bitbake", "-m"), code=None)

    def writers(self) -> list[int]:
        """Return the ids of the writer and its forks, the writer first."""
        return sorted(
            pid for pid, words in _processes() if os.fsencode(self.root / ".prov.sock") in words
        )

    def kill_writer(self) -> None:
        os.kill(self.writers()[0], signal.SIGKILL)

    def workdir(self, recipe: str = "app", version: str = "0.1", tmp: str = "tmp") -> Path:
        return self.root / tmp / "work/small-machine" / recipe / version

    def tags(self, under: str = "") -> list[str]:
        return [
            row.removeprefix("refs/tags/")
            for row in self.git("for-each-ref", "--format=%(refname)", f"refs/tags/{under}").split()
        ]

    def recorded(self) -> set[str]:
        """Return the tasks that have a recorded run."""
        return {
            ":".join(tag.split("/")[:2])
            for tag in self.tags()
            if not tag.startswith(("outside/", "failed/"))
        }

    def newest(self) -> dict[str, str]:
        """Return the facts of the newest build."""
        facts = self.json("builds")["builds"][0]["facts"]
        assert isinstance(facts, dict)
        return facts

    def builds(self) -> int:
        return len(self.json("builds")["builds"]) if (self.root / ".prov").exists() else 0

    def facts(self, key: str) -> dict[str, str]:
        facts = self.json("show", key)["facts"]
        assert isinstance(facts, dict)
        return facts

    def changes(self, key: str) -> set[str]:
        return set(self.ask("diff", key).splitlines())

    def causes(self, key: str) -> dict[str, set[tuple[str, str]]]:
        """Return the causes that `prov why` reports: task -> kind and name of each change."""
        return {
            cause["task"]: {(each["kind"], each["name"]) for each in cause["changes"]}
            for cause in self.json("why", key)["causes"]
        }

    def is_clean(self) -> None:
        said = self.git("fsck", "--strict", "--full", "--no-dangling", "--no-progress")
        assert [line for line in said.splitlines() if not line.startswith("notice: ")] == []
        assert self.ask("fsck") == "no errors\n"

    def traces(self) -> list[str]:
        """Return the names of prov's files in the build directory."""
        return sorted(path.name for path in self.root.iterdir() if path.name.startswith(".prov"))


def _processes() -> Iterator[tuple[int, list[bytes]]]:
    """Yield the id and the command line of each process."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")


def warnings(said: str) -> list[str]:
    """Return the different warnings of prov in BitBake's output."""
    # a warning may follow the text of a progress message on the same line
    lines = [line.partition("WARNING: ")[2] for line in said.splitlines()]
    return list(dict.fromkeys(line for line in lines if "prov: " in line))
