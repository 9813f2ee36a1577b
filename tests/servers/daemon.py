"""git daemon: fetch and push for all clients, without passwords or encryption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.docs import command
from tests.servers.process import Process, on_a_port, program
from tests.servers.server import Server


@contextmanager
def git_daemon(folder: Path, private: Path) -> Iterator[Server]:
    """Serve the repositories in a folder; `private` is for the server's own files."""
    program("git-daemon", "git")
    log = private / "git-daemon.log"

    def make(port: int) -> Process:
        changes = {"/srv/git": str(folder), "0.0.0.0": "127.0.0.1", "9418": str(port)}
        words = command("git daemon", "git daemon", changes)
        return Process(words, log, lambda said: "Ready to rumble" in said, {"HOME": str(private)})

    with on_a_port(make) as (port, process):
        yield Server(
            folder=folder,
            base="git://127.0.0.1:{port}/",
            port=port,
            log=log,
            access=log,
            mark=r"\] Request ",
            processes=(process,),
        )
