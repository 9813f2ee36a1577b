"""`prov bitbake`: what needs no BitBake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

LAYER = Path(__file__).parents[2] / "prov/bitbake/layer"


@pytest.fixture
def build(small: Project) -> Project:
    """A project with a build directory of BitBake's."""
    small.write("build/conf/local.conf", 'MACHINE = "qemux86-64"\n')
    small.write("build/conf/bblayers.conf", 'BBLAYERS = "/layers/meta"\n')
    return small


def test_the_layers_folder_is_printed(small: Project) -> None:
    assert small.ask("bitbake", "layer") == f"{LAYER}\n"


def test_the_layer_is_added_once_and_taken_out(build: Project) -> None:
    before = (build.root / "build/conf/bblayers.conf").read_text()
    assert "build/conf/bblayers.conf: added\n" in build.ask("bitbake", "setup", "build")
    assert str(LAYER) in (build.root / "build/conf/bblayers.conf").read_text()
    assert build.prov("bitbake", "setup", "build").stderr == "nothing to add\n"
    assert ": taken out\n" in build.ask("bitbake", "setup", "build", "--undo")
    assert (build.root / "build/conf/bblayers.conf").read_text() == before
    assert build.prov("bitbake", "setup", "build", "--undo").stderr == "nothing to take out\n"
