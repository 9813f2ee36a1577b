"""Subcommands of `prov bitbake` that run without BitBake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

LAYER = Path(__file__).parents[2] / "prov/bitbake/layer"


@pytest.fixture
def build(small: Project) -> Project:
    """A project with a BitBake build directory."""
    small.write("build/conf/local.conf", 'MACHINE = "qemux86-64"\n')
    small.write("build/conf/bblayers.conf", 'BBLAYERS = "/layers/meta"\n')
    return small


def test_layer_prints_its_path(small: Project) -> None:
    assert small.ask("bitbake", "layer") == f"{LAYER}\n"


def test_setup_adds_the_layer_once_and_undo_removes_it(build: Project) -> None:
    before = (build.root / "build/conf/bblayers.conf").read_text()
    assert "build/conf/bblayers.conf: added\n" in build.ask("bitbake", "setup", "build")
    assert str(LAYER) in (build.root / "build/conf/bblayers.conf").read_text()
    assert build.prov("bitbake", "setup", "build").stderr == "already set up\n"
    assert ": removed the lines of `prov bitbake setup`\n" in build.ask(
        "bitbake", "setup", "build", "--undo"
    )
    assert (build.root / "build/conf/bblayers.conf").read_text() == before
    assert build.prov("bitbake", "setup", "build", "--undo").stderr == "not set up\n"
