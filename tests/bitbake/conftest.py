"""Fixtures of build directories. BitBake servers started in them exit with the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bitbake.staged import Directories, staged_below
from tests.bitbake.story import BuildDirectory

BuildDirectories = Callable[..., BuildDirectory]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("BB", "PROV_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[BuildDirectories]:
    """`directories(name, layer=False)` makes a build directory, by default with prov's layer."""
    made: list[BuildDirectory] = []

    def make(name: str = "build", *, layer: bool = True) -> BuildDirectory:
        made.append(BuildDirectory(tmp_path / name))
        return made[-1].make(layer=layer)

    yield make
    for each in made:
        each.stop()
        shutil.rmtree(each.root, ignore_errors=True)


@pytest.fixture
def story(directories: BuildDirectories) -> BuildDirectory:
    """A build directory without any build."""
    return directories()


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Directories]:
    """`staged(name, level=Level.CACHE)` makes a build directory that uses OE-core's classes for
    shared state and sysroots.
    """
    with staged_below(tmp_path) as make:
        yield make
