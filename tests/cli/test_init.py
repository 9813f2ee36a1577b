"""`prov init`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_project_and_store_are_created(small: Project) -> None:
    assert small.ask("init", "new").splitlines() == [
        f"created {small.root}/new/prov.toml",
        f"the store is {small.root}/new/.prov",
    ]
    assert (small.root / "new/.prov/HEAD").exists()


def test_existing_files_are_kept(small: Project) -> None:
    before = (small.root / "prov.toml").read_text()
    assert small.ask("init") == small.ask("init") == f"the store is {small.root}/.prov\n"
    assert (small.root / "prov.toml").read_text() == before
