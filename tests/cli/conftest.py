"""Projects for stories: copies of the demo as it was built once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.story import DEMO, Project


@pytest.fixture(scope="session")
def demo_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("story") / "demo"
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns(".prov", "build"))
    Project(root).prov("build", "demo-image")
    yield root
    shutil.rmtree(root)


@pytest.fixture
def story(demo_once: Path, tmp_path: Path) -> Iterator[Project]:
    """The demo, built."""
    root = tmp_path / "demo"
    shutil.copytree(
        demo_once,
        root,
        symlinks=True,
        ignore=shutil.ignore_patterns("objects", "pool", "toolchains"),
    )
    for large in (
        ".prov/objects",
        ".prov/prov/pool",
        ".prov/prov/toolchains",
    ):  # nothing writes into their files
        subprocess.run(["cp", "-al", demo_once / large, root / large], check=True)
    yield Project(root)
    shutil.rmtree(root)
