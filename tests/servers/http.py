"""nginx, fcgiwrap and git http-backend: fetch and push over HTTP, with a user name and password."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.docs import block, command
from tests.servers.nginx import nginx
from tests.servers.process import Process, on_a_port, program
from tests.servers.server import Server

USER, PASSWORD = "alice", "correct horse"
# fcgiwrap does not replace an existing socket, for example after a restart, and leaves its child
# processes running when it is killed.
FCGIWRAP = 'rm -f "$3"; trap "trap - TERM; kill 0" TERM; "$1" "$2" -s "unix:$3" & wait'
PROTOCOL = "fastcgi_param GIT_PROTOCOL $http_git_protocol;"


def login(home: Path, *, password: str = PASSWORD) -> dict[str, str]:
    """Return the environment of a client with a password in its home."""
    home.mkdir(exist_ok=True)
    netrc = home / ".netrc"
    netrc.write_text(f'machine 127.0.0.1 login {USER} password "{password}"\n')
    netrc.chmod(0o600)
    return {"HOME": str(home), "GIT_TERMINAL_PROMPT": "0"}


@contextmanager
def fcgiwrap(path: Path, log: Path) -> Iterator[Process]:
    """Run CGI programs for all clients of a socket."""

    def is_ready(_: str) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    found = program("fcgiwrap", "fcgiwrap")
    options = block("HTTP", "sh", {}).strip().removeprefix("DAEMON_OPTS=")
    process = Process(["sh", "-c", FCGIWRAP, "sh", found, options, str(path)], log, is_ready)
    process.start()
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def http_server(
    folder: Path, private: Path, *, v2: bool = True, max_body: str = "0"
) -> Iterator[Server]:
    """Serve the repositories in a folder; without `v2`, git does not see the protocol that a client
    requests.

    `max_body` is the maximum body of a request in nginx's notation ("100k"); "0" means no limit.
    """
    program("git-http-backend", "git")
    passwords, backend = private / "passwords", private / "fcgiwrap.socket"
    make_hash = [*command("HTTP", "openssl passwd", {}), "-stdin"]
    hashed = subprocess.run(
        make_hash, input=f"{PASSWORD}\n", capture_output=True, text=True, check=True
    ).stdout
    passwords.write_text(f"{USER}:{hashed}")

    def config(port: int) -> str:
        changes = {
            "listen 80;": f"listen 127.0.0.1:{port};",
            "client_max_body_size 0;": f"client_max_body_size {max_body};",
            "/srv/git": str(folder),
            "/etc/nginx/git.passwords": str(passwords),
            "/run/fcgiwrap.socket": str(backend),
        }
        if not v2:
            changes[PROTOCOL] = 'fastcgi_param HTTP_GIT_PROTOCOL "";'
        return block("HTTP", "nginx", changes)

    make = nginx(private, config)
    with fcgiwrap(backend, private / "nginx.log") as behind, on_a_port(make) as (port, process):
        yield Server(
            folder=folder,
            base="http://127.0.0.1:{port}/",
            port=port,
            log=process.log,
            access=private / "access.log",
            environment=login(private / "home"),
            processes=(behind, process),
        )
