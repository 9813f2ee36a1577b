"""Fixtures of tables: a generated store, and a copy of it for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prov.store.repository import Store
from tests.fsck.generated_store import make_store


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "store.git"
    make_store(path, runs=300, recipes=3)
    return path


@pytest.fixture
def store(generated: Path, tmp_path: Path) -> Store:
    shutil.copytree(generated, tmp_path / "store.git")
    return Store.open(tmp_path / "store.git")
