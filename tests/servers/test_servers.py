"""Every server serves, and what it refuses is refused."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.fixtures import Servers
from tests.servers.server import Server

FOREIGN = "Server does not allow request for unadvertised object"


@dataclass(frozen=True, slots=True)
class Clone:
    """A client's repository and the server's."""

    server: Server
    url: str
    here: Path

    def git(self, *arguments: str) -> str:
        done = self.server.git(*arguments, folder=self.here)
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self.server.log.read_text()}"
        return done.stdout.strip()

    def refused(self, *arguments: str) -> str:
        done = self.server.git(*arguments, folder=self.here)
        assert done.returncode != 0, f"{arguments}: {done.stdout}"
        return done.stderr

    def commit(self, data: bytes) -> str:
        (self.here / "file").write_bytes(data)
        self.git("add", "file")
        self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "c")
        return self.git("rev-parse", "HEAD")


def clone(server: Server, folder: Path, name: str = "cache.git") -> Clone:
    url = server.create(name)
    here = folder / f"of-{name}"
    subprocess.run(["git", "init", "-q", str(here)], check=True)
    return Clone(server, url, here)


def pushed_and_fetched(client: Clone) -> tuple[str, str]:
    """Push two commits to a ref of ours and fetch them; return both."""
    first, second = client.commit(b"1"), client.commit(b"2")
    client.git("push", "-q", client.url, "HEAD:refs/prov/x")
    assert client.git("ls-remote", client.url) == f"{second}\trefs/prov/x"
    client.git("init", "-q", "--bare", "other")
    client.git("--git-dir=other", "fetch", "-q", client.url, "refs/prov/x:refs/prov/y")
    assert client.git("--git-dir=other", "rev-parse", "refs/prov/y") == second
    client.git("init", "-q", "--bare", "third")
    return first, second


def test_git_daemon(git_daemon: Servers, tmp_path: Path) -> None:
    """git daemon speaks v2 always: an object that no ref names can be fetched by its id."""
    client = clone(git_daemon(tmp_path), tmp_path)
    first, _ = pushed_and_fetched(client)
    client.git("--git-dir=third", "fetch", "-q", "--depth=1", client.url, first)
    assert any("receive-pack" in line for line in client.server.requests())
