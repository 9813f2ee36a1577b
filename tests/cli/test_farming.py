"""The table `[farm]` of prov.toml and the options of `prov build`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.story import Project, small_project
from tests.farm.machines import machines, outputs, write_project

pytestmark = pytest.mark.process


def test_settings_of_the_project(tmp_path: Path) -> None:
    text = 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo > out/x"\noutputdir = "out"\n'
    project = write_project(tmp_path / "project", {"app": text})
    with machines(tmp_path / "home", "w1") as farm:
        (farm.folder / "moved").symlink_to(farm.credentials)
        with (project / "prov.toml").open("a") as settings:
            settings.write(f'url = "{farm.address}"\ncredentials = "~/moved"\n')
        done = farm.run("build", "world", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "app:go ran in" in done.stderr
    assert "at w1" in done.stderr
    assert len(outputs(project)) == 2


def test_invalid_settings_are_named(tmp_path: Path) -> None:
    project: Project = small_project(tmp_path)
    project.task("true")
    project.append("prov.toml", "[farm]\nurl = 'tls://127.0.0.1:1'\nverify = 2.0\n")
    assert "farm.verify" in project.refused("build", "a")
    project.edit("prov.toml", "verify = 2.0", "speed = 9")
    assert "speed" in project.refused("build", "a")
    project.edit("prov.toml", "speed = 9", "")
    assert "has no ca.pem" in project.refused("build", "--credentials=/nowhere", "a")
