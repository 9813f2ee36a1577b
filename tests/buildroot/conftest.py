"""Fixtures for tests of Buildroot's adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.buildroot.replay import CONFIG


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A configured build directory, in which nothing is built."""
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / ".config").write_text(CONFIG)
    return folder
