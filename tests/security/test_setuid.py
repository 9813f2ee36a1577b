"""No other user can start a setuid program that a task creates, which would run as the builder."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

NOBODY = 65534
SETUID = stat.S_ISUID | stat.S_ISGID
SCRIPT = "mkdir -p out/bin; cd out/bin; cat > id; cp id copy; chmod 4755 id; chmod 2755 copy"
RECIPE = f"""version = "1"
[tasks.go]
outputdir = "out"
deploy = true
script = "echo '#!/bin/sh' | ({SCRIPT})"
[tasks.use]
needs = ["a:go"]
outputdir = "made"
script = 'ls -l "$RECIPE_SYSROOT/bin" > made/list'
"""


def programs(top: Path) -> list[Path]:
    """Return the setuid and setgid files in a folder."""
    files = (path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if path.stat().st_mode & SETUID]


@pytest.fixture
def built(small: Project) -> Project:
    small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "ls ')
    small.write("recipes/a.toml", RECIPE)
    small.prov("build", "a:use", "a:go")
    return small


def test_programs_of_tasks_that_run_as_the_builder(built: Project, tmp_path: Path) -> None:
    work = built.root / "build/work"
    assert programs(work), "the task made them, and they stay as it made them"
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert programs(built.root / "build/deploy") == []
    for program in programs(built.root / ".prov"):
        pool = next(folder for folder in program.parents if folder.parent.name == "prov")
        assert stat.S_IMODE(pool.stat().st_mode) == 0o700
    if os.getuid() == 0:
        tmp_path.chmod(0o755)
        program = programs(work)[0]
        # not by setpriv, which has root's capabilities until it starts the program
        with pytest.raises(PermissionError):
            subprocess.run([str(program)], user=NOBODY, group=NOBODY, extra_groups=[], check=False)


def test_a_checkout_drops_the_permission_unless_it_is_asked_for(
    built: Project, tmp_path: Path
) -> None:
    done = built.prov("checkout", "a:go@output", str(tmp_path / "plain"))
    assert "removed setuid and setgid bits" in done.stderr
    assert programs(tmp_path / "plain") == []
    built.prov("checkout", "a:go@output", str(tmp_path / "linked"), "--link")
    assert programs(tmp_path / "linked") == []
    built.prov("checkout", "a:go@output", str(tmp_path / "whole"), "--setuid")
    assert len(programs(tmp_path / "whole")) == 2


def test_a_composed_directory_has_none(built: Project, tmp_path: Path) -> None:
    built.prov("compose", str(tmp_path / "root"), "a:go")
    built.prov("compose", str(tmp_path / "root"), "a:go")
    assert programs(tmp_path / "root") == [] and (tmp_path / "root/bin/id").exists()


def test_a_deployed_file_is_deployed_once(built: Project) -> None:
    path = next(path for path in (built.root / "build/deploy").rglob("id"))
    before = path.stat().st_ino
    built.prov("build", "a:use", "a:go")
    assert path.stat().st_ino == before
