"""A running server, of any kind."""

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
    """The served folder: of repositories or files."""
    base: str
    """Its URL, with `{port}` for the port; a name in the folder follows."""
    port: int
    log: Path
    """Its log, with errors."""
    access: Path
    """The log of requests; may be the same file."""
    mark: str = ""
    """A regular expression that matches the lines of requests in `access`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Additional variables for clients."""
    processes: tuple[Process, ...] = ()

    def url(self, name: str = "") -> str:
        """Return the URL of a repository or a file."""
        return self.base.format(port=self.port) + name

    def requests(self, *, at_least: int = 0) -> list[str]:
        """Return the lines of all requests so far.

        nginx logs a request shortly after the client has its answer, so wait for `at_least` this
        many requests.
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
        """Return the same server behind another port, for example a proxy's."""
        return replace(self, port=port)

    def stop(self) -> None:
        """Stop it and its connections."""
        for process in reversed(self.processes):
            process.stop()

    def start(self) -> None:
        """Start it again on the same port."""
        for process in self.processes:
            process.start()

    def create(self, name: str) -> str:
        """Create an empty bare repository in the folder; return its URL."""
        subprocess.run(["git", "init", "-q", "--bare", str(self.folder / name)], check=True)
        return self.url(name)

    def git(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run git as a client of this server; it may fail."""
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
