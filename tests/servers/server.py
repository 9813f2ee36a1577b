"""A server as a test sees it, whatever it is made of."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.servers.process import PATIENCE, Process


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of a folder."""

    folder: Path
    """What is served: repositories, or files."""
    base: str
    """Its URL, with `{port}` for the port; a name in the folder follows."""
    port: int
    log: Path
    """What it said, errors and all."""
    access: Path
    """Where it notes requests; may be the log."""
    mark: str = ""
    """What a line of `access` has in it if it is a request: an expression."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What a client needs over its own environment."""
    processes: tuple[Process, ...] = ()

    def url(self, name: str = "") -> str:
        """Return the URL of a repository or a file."""
        return self.base.format(port=self.port) + name

    def requests(self, *, at_least: int = 0) -> list[str]:
        """Return the lines of all requests so far.

        nginx notes a request shortly after its client has the answer: who counts waits for
        `at_least` so many.
        """
        until = time.monotonic() + PATIENCE
        while True:
            lines = (
                self.access.read_text(errors="replace").splitlines() if self.access.exists() else []
            )
            found = [line for line in lines if re.search(self.mark, line)]
            if len(found) >= at_least or time.monotonic() > until:
                return found
            time.sleep(0.005)

    def at(self, port: int) -> Server:
        """Return the same server as it is seen through another port: a proxy's."""
        return replace(self, port=port)

    def stop(self) -> None:
        """Take it away, with the connections it has."""
        for process in reversed(self.processes):
            process.stop()

    def start(self) -> None:
        """Bring it back, on the port it had."""
        for process in self.processes:
            process.start()

    def create(self, name: str) -> str:
        """Make an empty bare repository in the folder; return its URL."""
        subprocess.run(["git", "init", "-q", "--bare", str(self.folder / name)], check=True)
        return self.url(name)

    def git(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run git as a client of this server, wherever it comes out."""
        environment = {
            **os.environ,
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
            **self.environment,
        }
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
