"""Fixtures of all tests: a separate store, and an environment without any user configuration."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from prov.store.repository import Store
from tests.cli.story import Project, small_project

Git = Callable[..., str]

pytest_plugins = ["tests.servers.fixtures"]

settings.register_profile(
    "prov",
    deadline=None,
    database=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("prov")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that take minutes, unless a command such as `make fuzz` requests them."""
    for marker in ("fuzz", "attacks", "servers", "farm"):
        if marker not in config.getoption("markexpr"):
            left_out = [item for item in items if item.get_closest_marker(marker)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
    # the file that takes longest: if it came last, one worker would wait for it
    items.sort(key=lambda item: item.path.name != "test_world.py")


@pytest.fixture(scope="session", autouse=True)
def user_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use one user key in all tests, so that they can read the caches of shared folders."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.getbasetemp() / "state")


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder for the homes of all tests; pytest lists a folder for each numbered path."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def sealed_environment(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in os.environ
        if name.startswith(("GIT_", "XDG_")) and name != "XDG_STATE_HOME"
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", tempfile.mkdtemp(dir=homes))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


@pytest.fixture
def git(store: Store) -> Git:
    def run(*arguments: str, data: bytes = b"", check: bool = True) -> str:
        command = ["git", f"--git-dir={store.path}", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        said = done.stdout.decode("utf-8", "surrogateescape") + done.stderr.decode(
            "utf-8", "surrogateescape"
        )
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(arguments)} ended with {done.returncode}: {said}")
        return said

    return run


@pytest.fixture
def is_clean(git: Git) -> Callable[[], None]:
    def check() -> None:
        said = git("fsck", "--strict", "--full", "--no-dangling", "--no-progress").splitlines()
        assert [
            line for line in said if not line.startswith("notice: ")
        ] == []  # of a HEAD without commits

    return check


@pytest.fixture
def small(tmp_path: Path) -> Project:
    return small_project(tmp_path / "small")
