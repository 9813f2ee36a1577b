"""Fixtures that return functions to start servers, which stop after the test.

    def test_it(http_server: Servers, proxy: Lines, tmp_path: Path) -> None:
        server = http_server(tmp_path, v2=False)
        url = server.create("cache.git")
        server.git("ls-remote", url)  # or another command, with server.environment added
        line = proxy(server, cut_after=10_000)
        server.git("ls-remote", server.at(line.port).url("cache.git"))

The test is skipped if a program of the server is missing. A fixture of another scope uses
`serving`:

    with serving(http.http_server, folder) as server:
        yield server
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers import daemon, http, ssh, static
from tests.servers import proxy as proxies
from tests.servers.proxy import Line
from tests.servers.server import Server

Servers = Callable[..., Server]
Lines = Callable[..., Line]


@pytest.fixture
def servers_of_test() -> Iterator[ExitStack]:
    """An exit stack for servers: each is stopped after the test, the last one first."""
    with ExitStack() as stack:
        yield stack


@contextmanager
def serving(
    server: Callable[..., AbstractContextManager[Server]], folder: Path, **options: Any
) -> Iterator[Server]:
    """Run a server with a private folder of a short name: a socket's path has at most 107 bytes."""
    with (
        tempfile.TemporaryDirectory(prefix="prov-server-", ignore_cleanup_errors=True) as private,
        server(folder, Path(private), **options) as running,
    ):
        yield running


def starting(stack: ExitStack, server: Callable[..., AbstractContextManager[Server]]) -> Servers:
    return lambda folder, **options: stack.enter_context(serving(server, folder, **options))


@pytest.fixture
def git_daemon(servers_of_test: ExitStack) -> Servers:
    """`git_daemon(folder)`: fetch and push for all, protocol v2."""
    return starting(servers_of_test, daemon.git_daemon)


@pytest.fixture
def ssh_server(servers_of_test: ExitStack) -> Servers:
    """`ssh_server(folder, v2=True)`"""
    return starting(servers_of_test, ssh.ssh_server)


@pytest.fixture
def http_server(servers_of_test: ExitStack) -> Servers:
    """`http_server(folder, v2=True, max_body="0")`"""
    return starting(servers_of_test, http.http_server)


@pytest.fixture
def static_server(servers_of_test: ExitStack) -> Servers:
    """`static_server(folder, ranges=True)`"""
    return starting(servers_of_test, static.static_server)


@pytest.fixture
def proxy(servers_of_test: ExitStack) -> Lines:
    """`proxy(server, cut_after=None, cut_after_up=None, delay=0.0, chunk=16384)`"""

    def start(server: Server, **limits: Any) -> Line:
        return servers_of_test.enter_context(proxies.proxy(server.port, **limits))

    return start
