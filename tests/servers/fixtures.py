"""Fixtures: each gives a function that starts a server, which is gone after the test.

def test_it(git_daemon: Servers, tmp_path: Path) -> None:
    server = git_daemon(tmp_path)
    url = server.create("cache.git")
    server.git("ls-remote", url)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.servers import daemon
from tests.servers.server import Server

Servers = Callable[..., Server]


@pytest.fixture
def until_the_end() -> Iterator[ExitStack]:
    """What was started in a test, ended after it in the other order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def private_folder(until_the_end: ExitStack) -> Callable[[], Path]:
    """Folders with short names: a socket's path has at most 107 bytes."""
    return lambda: Path(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="prov-server-")))


@pytest.fixture
def git_daemon(until_the_end: ExitStack, private_folder: Callable[[], Path]) -> Servers:
    """`git_daemon(folder)`"""

    def start(folder: Path, **options: Any) -> Server:
        return until_the_end.enter_context(daemon.git_daemon(folder, private_folder(), **options))

    return start
