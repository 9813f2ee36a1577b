"""Every server serves its folder and rejects invalid requests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import process
from tests.servers.docs import command
from tests.servers.fixtures import Lines, Servers
from tests.servers.http import login
from tests.servers.process import NotStartedError, free_port
from tests.servers.server import Server

NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0"}
UNADVERTISED = "Server does not allow request for unadvertised object"


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


def pushed_and_fetched(client: Clone) -> str:
    """Push two commits to a ref and fetch them; return the first one, which no ref points to."""
    first, second = client.commit(b"1"), client.commit(b"2")
    client.git("push", "-q", client.url, "HEAD:refs/prov/x")
    assert client.git("ls-remote", client.url) == f"{second}\trefs/prov/x"
    client.git("init", "-q", "--bare", "other")
    client.git("--git-dir=other", "fetch", "-q", client.url, "refs/prov/x:refs/prov/y")
    assert client.git("--git-dir=other", "rev-parse", "refs/prov/y") == second
    client.git("init", "-q", "--bare", "empty")
    return first


def by_id(client: Clone, oid: str) -> tuple[str, ...]:
    return ("--git-dir=empty", "fetch", "-q", "--depth=1", client.url, oid)


def server_of(
    request: pytest.FixtureRequest, fixture: str, folder: Path, **options: bool
) -> Server:
    start: Servers = request.getfixturevalue(fixture)
    return start(folder, **options)


@pytest.mark.parametrize("fixture", ["git_daemon", "ssh_server", "http_server"])
def test_v2_serves_any_object_by_id(
    request: pytest.FixtureRequest, fixture: str, tmp_path: Path
) -> None:
    """For example a commit below a ref, or a blob that no ref reaches."""
    client = clone(server_of(request, fixture, tmp_path), tmp_path)
    first = pushed_and_fetched(client)
    client.git(*by_id(client, first))
    assert client.git("--git-dir=empty", "cat-file", "-t", first) == "commit"
    loose = client.git(f"--git-dir={tmp_path / 'cache.git'}", "hash-object", "-w", __file__)
    client.git(*by_id(client, loose))
    assert client.git("--git-dir=empty", "cat-file", "-t", loose) == "blob"
    requests = client.server.requests(at_least=4)
    assert any("receive-pack" in line for line in requests)
    assert any("upload-pack" in line for line in requests)


@pytest.mark.parametrize("fixture", ["ssh_server", "http_server"])
def test_v0_serves_only_refs(request: pytest.FixtureRequest, fixture: str, tmp_path: Path) -> None:
    """The git client itself refuses: it reads the allowed ids from the advertisement.

    With uploadpack.allowAnySHA1InWant in the repository, v0 serves any object like v2.
    """
    client = clone(server_of(request, fixture, tmp_path, v2=False), tmp_path)
    first = pushed_and_fetched(client)
    assert f"{UNADVERTISED} {first}" in client.refused(*by_id(client, first))
    client.git("-C", str(tmp_path / "cache.git"), "config", "uploadpack.allowAnySHA1InWant", "true")
    client.git(*by_id(client, first))
    loose = client.git(f"--git-dir={tmp_path / 'cache.git'}", "hash-object", "-w", __file__)
    client.git(*by_id(client, loose))


@pytest.mark.parametrize("fixture", ["git_daemon", "ssh_server", "http_server"])
def test_a_server_stops_and_starts_again(
    request: pytest.FixtureRequest, fixture: str, tmp_path: Path
) -> None:
    client = clone(server_of(request, fixture, tmp_path), tmp_path)
    pushed_and_fetched(client)
    client.server.stop()
    said = client.refused("ls-remote", client.url)
    assert "refused" in said or "Couldn't connect" in said
    client.server.start()
    assert client.git("ls-remote", client.url)


@pytest.mark.parametrize("fixture", ["git_daemon", "ssh_server", "http_server"])
def test_the_line_is_cut_during_a_transfer(
    request: pytest.FixtureRequest, proxy: Lines, fixture: str, tmp_path: Path
) -> None:
    """First to the client, in a fetch; then to the server, in a push.

    The same command works once the line is repaired.
    """
    client = clone(server_of(request, fixture, tmp_path), tmp_path)
    client.commit(os.urandom(1_000_000))
    client.git("push", "-q", client.url, "HEAD:refs/prov/x")
    line = proxy(client.server, cut_after=300_000)
    url = client.server.at(line.port).url("cache.git")
    client.git("init", "-q", "--bare", "other")
    fetch = ("--git-dir=other", "fetch", "-q", url, "refs/prov/x:refs/prov/x")
    said = client.refused(*fetch)
    assert "early EOF" in said or "unexpected disconnect" in said or "remote end hung up" in said
    assert (line.cuts, line.down >= 300_000) == (1, True)
    assert client.git("--git-dir=other", "for-each-ref") == ""
    line.cut_after, line.cut_after_up = None, 300_000
    client.git(*fetch)
    client.commit(os.urandom(1_000_000))
    said = client.refused("push", "-q", url, "HEAD:refs/prov/z")
    assert (
        "hung up" in said or "disconnect" in said or "Broken pipe" in said or "RPC failed" in said
    ), said
    assert "refs/prov/z" not in client.git("ls-remote", client.url)
    line.cut_after_up = None
    client.git("push", "-q", url, "HEAD:refs/prov/z")
    assert line.connections >= 4


def test_a_folder_needs_no_server(tmp_path: Path) -> None:
    """Git starts a local process, which uses v2. Members of the group can write to new files."""
    make = command("A folder", "git init", {"/srv/git/cache.git": str(tmp_path / "cache.git")})
    subprocess.run([*make, "-q"], check=True)
    subprocess.run(
        command("A folder", "git -C", {"/srv/git/cache.git": str(tmp_path / "cache.git")}),
        check=True,
    )
    server = Server(tmp_path, str(tmp_path), 0, tmp_path / "log", tmp_path / "log")
    subprocess.run(["git", "init", "-q", str(tmp_path / "here")], check=True)
    client = Clone(server, str(tmp_path / "cache.git"), tmp_path / "here")
    client.git(*by_id(client, pushed_and_fetched(client)))
    client.git("push", "-q", "--force", client.url, "HEAD~1:refs/prov/x")
    assert all(
        each.stat().st_mode & 0o020 for each in (tmp_path / "cache.git").rglob("*") if each.is_dir()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a repository to another user")
def test_a_folder_of_another_user_must_be_trusted(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.git")
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    os.chown(path, 65534, 65534)
    refused = subprocess.run(["git", "ls-remote", path], capture_output=True, text=True)
    assert "detected dubious ownership" in refused.stderr
    subprocess.run(command("A folder", "git config", {"/srv/git/cache.git": path}), check=True)
    subprocess.run(["git", "ls-remote", path], check=True)


@pytest.mark.parametrize("fixture", ["git_daemon", "ssh_server"])
def test_a_port_in_use(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fixture: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, free_port()])
        monkeypatch.setattr(process, "free_port", lambda: next(ports))
        client = clone(server_of(request, fixture, tmp_path), tmp_path)
    assert client.server.port != taken
    pushed_and_fetched(client)


def test_a_server_that_does_not_start_reports_the_reason(
    http_server: Servers, tmp_path: Path
) -> None:
    with pytest.raises(NotStartedError, match='"client_max_body_size" directive invalid value'):
        http_server(tmp_path, max_body="nonsense")


def test_a_server_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        pytest.skip.Exception, match=r"nonesuch is not installed \(Debian's some-package\)"
    ):
        process.program("nonesuch", "some-package")


@pytest.mark.parametrize("fixture", ["git_daemon", "ssh_server", "http_server", "static_server"])
def test_no_process_of_a_server_is_left(
    request: pytest.FixtureRequest, fixture: str, tmp_path: Path
) -> None:
    """Even if the test dies: child processes of a server end with it."""
    server = server_of(request, fixture, tmp_path)
    pids = [each.running.pid for each in server.processes if each.running]
    everyone = {*pids, *(below for pid in pids for below in process.below(pid))}
    process.send(signal.SIGTERM, pids)  # as the kernel does with setpriv
    until = time.monotonic() + 10
    while alive(everyone) and time.monotonic() < until:
        time.sleep(0.01)
    assert alive(everyone) == []
    server.stop()


def alive(pids: set[int]) -> list[str]:
    """Return the command lines of processes; "" for one that has ended."""
    return [line for pid in pids if (line := command_line(pid))]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_ssh_accepts_only_its_keys(ssh_server: Servers, tmp_path: Path) -> None:
    client = clone(ssh_server(tmp_path), tmp_path)
    client.git("ls-remote", client.url)
    authorized = client.server.log.with_name("client.pub")
    authorized.rename(authorized.with_name("away"))
    assert "Permission denied (publickey)" in client.refused("ls-remote", client.url)


def test_a_wrong_password_is_rejected(http_server: Servers, tmp_path: Path) -> None:
    client = clone(http_server(tmp_path), tmp_path)
    for environment in (
        login(tmp_path / "stranger", password="wrong"),
        {"HOME": str(tmp_path), **NO_PROMPT},
    ):
        done = subprocess.run(
            ["git", "ls-remote", client.url],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 128
        assert "Authentication failed" in done.stderr or "could not read Username" in done.stderr
    assert all(" 401 " in line for line in client.server.requests())


def test_http_rejects_a_big_push(http_server: Servers, tmp_path: Path) -> None:
    client = clone(http_server(tmp_path, max_body="100k"), tmp_path)
    pushed_and_fetched(client)
    client.commit(os.urandom(200_000))
    assert "HTTP 413" in client.refused("push", "-q", client.url, "HEAD:refs/prov/big")
    client.commit(os.urandom(2_000_000))  # larger than http.postBuffer, so sent in chunks
    assert "HTTP 413" in client.refused("push", "-q", client.url, "HEAD:refs/prov/big")


def part(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Range": "bytes=2-4"}), timeout=20
    ) as answer:
        return answer.status, answer.read()


def test_a_static_server_supports_ranges(static_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    server, whole = static_server(tmp_path), static_server(tmp_path, ranges=False)
    assert part(server.url("file")) == (206, b"234")
    assert part(whole.url("file")) == (200, b"0123456789")
    assert server.requests(at_least=1) == [
        "GET /file 206 3 range=bytes=2-4 protocol=- connection=1"
    ]
    server.stop()
    with pytest.raises(urllib.error.URLError):
        part(server.url("file"))
    server.start()
    assert part(server.url("file")) == (206, b"234")


def test_a_slow_line(static_server: Servers, proxy: Lines, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4000))
    server = static_server(tmp_path)
    line = proxy(server, delay=0.01, chunk=500)
    assert part(server.at(line.port).url("file"))[0] == 206
    with urllib.request.urlopen(server.at(line.port).url("file"), timeout=20) as answer:
        assert len(answer.read()) == 4000
    assert (line.connections, line.cuts) == (2, 0)
    assert line.down > 4000 > line.up > 0
