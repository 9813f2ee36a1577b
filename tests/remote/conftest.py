"""Machines with and without a built project, and a cache behind each kind of server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.cli.story import copy_project
from tests.remote.story import Cache, Machine
from tests.servers.fixtures import Lines, Servers

Machines = Callable[..., Machine]
SLOWLY = ("daemon", "ssh-v0", "http-v0")
"""The kinds of servers that only `make servers` tests, where a test is for several kinds."""


def kinds(*names: str) -> list[ParameterSet]:
    """Return parameters of a test for several kinds of servers."""
    return [
        pytest.param(name, marks=[pytest.mark.servers] if name in SLOWLY else []) for name in names
    ]


KINDS = kinds("folder", "daemon", "ssh", "ssh-v0", "http", "http-v0")


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two projects: one is built, and the store of the other has only the host tools."""
    folder = tmp_path_factory.mktemp("sharing")
    machine = Machine(folder / "built").make()
    machine.build()
    empty = Machine(folder / "empty").make()
    empty.prov("plan", "app")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def machines(built_once: Path, tmp_path: Path) -> Iterator[Machines]:
    """`machines(name, cache, "--push", built=False)`: a machine with a remote `team`."""
    made = []

    def make(name: str, cache: Cache | None = None, *options: str, built: bool = False) -> Machine:
        root = tmp_path / name
        source = built_once / ("built" if built else "empty")
        copy_project(source, root)
        made.append(root)
        machine = Machine(root)
        if cache is not None:
            machine.join("team", cache, *options)
        return machine

    yield make
    for root in made:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=KINDS)
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """An empty cache on each kind of server, behind a line that counts bytes."""
    return make_cache(request, tmp_path, request.param)


def make_cache(request: pytest.FixtureRequest, tmp_path: Path, kind: str, **options: str) -> Cache:
    folder = tmp_path / "caches"
    folder.mkdir(exist_ok=True)
    name, _, old = kind.partition("-")
    if name == "folder":
        return Cache(folder / "cache.git", str(folder / "cache.git"))
    fixture = "git_daemon" if name == "daemon" else f"{name}_server"
    start: Servers = request.getfixturevalue(fixture)
    lines: Lines = request.getfixturevalue("proxy")
    server = start(folder, **({"v2": False} if old else {}), **options)
    server.create("cache.git")
    line = lines(server)
    return Cache(folder / "cache.git", server.at(line.port).url("cache.git"), server, line)


@pytest.fixture
def folder_cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache.git", str(tmp_path / "cache.git"))


@pytest.fixture
def daemon_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return make_cache(request, tmp_path, "daemon")


@pytest.fixture
def http_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return make_cache(request, tmp_path, "http")
