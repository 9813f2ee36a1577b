"""Record builds of a real Buildroot, whose source tree BUILDROOT_DIR names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.buildroot.real import TARGETS, Build
from tests.cli.story import Project

SOURCE = os.environ.get("BUILDROOT_DIR", "")

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not SOURCE, reason="BUILDROOT_DIR names no source tree of Buildroot"),
]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build directory that prov records."""
    directory = Build.create(Path(SOURCE).resolve(), tmp_path)
    Project(directory.output).prov("buildroot", "setup", ".")
    return directory


def test_builds_in_parallel_with_a_failure_between_them(build: Build) -> None:
    prov = Project(build.output)
    assert "prov:" not in build.make("-j3", *TARGETS)
    first = prov.ask("log")
    for name in ("words:install-staging", "greet:install-target", "host-greet:install-host"):
        assert f"  {name}  " in first
    assert len(prov.ask("builds").splitlines()) == 1

    makefile = build.external / "package/greet/greet.mk"
    working = makefile.read_text()
    makefile.write_text(working.replace("GREET_BUILD_CMDS\n", "GREET_BUILD_CMDS\n\tfalse\n", 1))
    build.make("greet-dirclean", "greet", code=2)
    prov.ask("buildroot", "finish")
    assert "failed: the step did not end" in prov.ask("show", "greet:build")

    makefile.write_text(working)
    (build.external / "package/words/src/greeting").write_text("goodbye\n")
    build.make("words-dirclean", "greet-dirclean", "greet")
    answer = prov.json("why", "greet:build", "--against", "latest~2")
    assert [cause["task"] for cause in answer["causes"]] == ["words:rsync"]
    made = prov.json("blame", "greet:install-target@output/target/usr/bin/greet")
    assert [step["task"] for step in made["steps"]] == ["greet:build"]
    prov.git("fsck", "--strict")
    prov.ask("fsck")


def test_without_setup_nothing_is_called(build: Build) -> None:
    prov = Project(build.output)
    prov.ask("buildroot", "setup", "--remove", ".")
    build.make("words")
    assert prov.ask("builds") == ""


def test_a_deleted_store_or_script_breaks_no_build(build: Build) -> None:
    (build.output / ".prov-step").unlink()
    assert "prov" not in build.make("words").replace(str(build.output), "")
