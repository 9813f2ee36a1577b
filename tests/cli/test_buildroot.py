"""`prov buildroot`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.buildroot.setup import SCRIPT
from tests.cli.buildroot import call_script
from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_setup_lists_the_files_that_it_wrote(configured: Project) -> None:
    said = configured.ask("buildroot", "setup", ".")
    assert said.splitlines() == [".prov-step: written", "local.mk: written"]
    assert configured.prov("buildroot", "setup", ".").stderr == "already set up\n"
    said = configured.ask("buildroot", "setup", "--remove", ".")
    assert [line.partition(":")[0] for line in said.splitlines()] == ["local.mk", ".prov-step"]
    assert configured.prov("buildroot", "setup", "--remove", ".").stderr == "not set up\n"
    assert (configured.root / ".prov").is_dir()


def test_setup_of_another_folder_is_an_error(configured: Project) -> None:
    said = configured.refused("buildroot", "setup", "build")
    assert said.startswith("prov: build/.config: No such file or directory hint: name the")


def test_setup_uses_a_given_store(configured: Project, tmp_path: Path) -> None:
    configured.ask("buildroot", "setup", ".", "--store", "other.git")
    assert f"{tmp_path}/other.git" in (tmp_path / SCRIPT).read_text()
    assert (tmp_path / "other.git/HEAD").exists()
    assert not (tmp_path / ".prov").exists()


def test_finish_records_a_failed_step(configured: Project) -> None:
    configured.ask("buildroot", "setup", ".")
    with subprocess.Popen(["sleep", "600"]) as make:
        call_script(configured, f"--make=20260102-030405-{make.pid}", "start", "build", "zlib")
        assert configured.ask("buildroot", "finish") == ""
        make.kill()
    assert configured.ask("buildroot", "finish").startswith("failed/zlib/build/")
    assert "failed: the step did not end" in configured.ask("show", "zlib:build")
