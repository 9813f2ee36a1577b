"""A farm on this machine: a scheduler, workers that can be killed, and projects to build."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands import PROV, run_prov

PATIENCE = 60.0
ADDRESS = re.compile(r"tls://[0-9.]+:[0-9]+")


def variables(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process of the farm."""
    keep = ("PATH", "LANG", "XDG_STATE_HOME")
    own = {name: os.environ[name] for name in keep if name in os.environ}
    return {**own, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **more}


def until(is_true: Callable[[], object], what: str) -> None:
    """Wait until a function returns true; fail, naming what it waited for, after a minute."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, f"no {what} in {PATIENCE:.0f} s"
        time.sleep(0.02)


@dataclass
class Machines:
    """A farm's processes."""

    folder: Path
    """The home of its processes, with their logs."""
    address: str = ""
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    @property
    def credentials(self) -> Path:
        return self.folder / ".config/prov/farm"

    def start(self, name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a process that logs to NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=variables(self.folder, **more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def add(self, name: str, *options: str, program: Sequence[str] = (PROV,), **more: str) -> None:
        """Start a worker and wait until it has joined."""
        own = self.folder / "credentials" / name
        if not own.exists():
            self.run("farm", "credentials", name, str(own))
        log = self.folder / f"{name}.log"
        size = log.stat().st_size if log.exists() else 0
        process = self.start(
            name,
            *program,
            "worker",
            f"--scheduler={self.address}",
            f"--name={name}",
            f"--credentials={own}",
            "--jobs=1",
            *options,
            **more,
        )
        self.workers[name] = process
        until(lambda: b"runs up to" in log.read_bytes()[size:], f"worker {name}")

    def kill(self, name: str) -> None:
        """Kill a worker and all its processes."""
        process = self.workers.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of prov in the farm's environment."""
        return subprocess.run(
            [PROV, *arguments],
            cwd=cwd or self.folder,
            env=variables(self.folder),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def build(self, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Build on the farm."""
        return self.run("build", f"--farm={self.address}", *arguments, cwd=project)


@contextmanager
def machines(folder: Path, *workers: str) -> Iterator[Machines]:
    """Yield a farm with some workers."""
    folder.mkdir()
    farm = Machines(folder)
    assert farm.run("farm", "init").returncode == 0
    scheduler = farm.start("scheduler", PROV, "farm", "up", "--workers=0")
    try:
        log = folder / "scheduler.log"
        until(lambda: ADDRESS.search(log.read_text()), "scheduler")
        found = ADDRESS.search(log.read_text())
        assert found
        farm.address = found[0]
        for name in workers:
            farm.add(name)
        yield farm
    finally:
        for name in [*farm.workers]:
            farm.kill(name)
        os.killpg(scheduler.pid, signal.SIGKILL)
        scheduler.wait()


TOOLS = "sh cat chmod cp date echo head ln ls mkdir rm sleep touch"
RECIPE = """\
version = "1"
build = ["three"]
[tasks.one]
script = "echo one > a; mkdir -p out; ln a out/a; chmod 4755 out/a; touch -d @1000000000 out"
outputdir = "out"
[tasks.two]
after = ["one"]
script = "cat a > b; cp b out/b; echo $WORKDIR > out/where"
outputdir = "out"
[tasks.three]
from = ["two"]
script = "cp -a out final; echo {word} >> final/b"
outputdir = "final"
"""


def write_project(folder: Path, recipes: Mapping[str, str], settings: str = "") -> Path:
    """Write a project whose tasks run on a farm however short they are."""
    (folder / "recipes").mkdir(parents=True)
    tools = f'[variables]\nHOSTTOOLS = "{TOOLS}"\nHOSTTOOLS_TOOLCHAIN = ""\n'
    (folder / "prov.toml").write_text(f"{settings}\n{tools}[farm]\nshortest = 0.0\n")
    for name, text in recipes.items():
        (folder / "recipes" / f"{name}.toml").write_text(text)
    return folder


def outputs(project: Path) -> dict[str, str]:
    """Return the results of a project's store: ref -> commit."""
    command = ["git", f"--git-dir={project / '.prov'}", "for-each-ref"]
    command += ["--format=%(refname) %(objectname)", "refs/prov/output", "refs/prov/static"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split(" ") for line in done.stdout.splitlines())


def sound(project: Path) -> None:
    """Assert that git and prov find no damage in a project's store."""
    command = ["git", f"--git-dir={project / '.prov'}", "fsck", "--strict", "--no-dangling"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    checked = run_prov("fsck", cwd=project)
    assert checked.returncode == 0, checked


HOSTILE = (sys.executable, str(Path(__file__).with_name("hostile_worker.py")))
"""The program of a worker that lies; the variable LIE names how."""
