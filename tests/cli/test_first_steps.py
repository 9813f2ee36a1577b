"""What a new user sees first: `prov init` in a git repository, and a folder without permission."""

from __future__ import annotations

import errno
import subprocess

import pytest
from prov_cli.app import report_error

from tests.cli.story import Project


def test_init_notes_a_store_that_git_does_not_ignore(small: Project) -> None:
    assert small.prov("init").stderr == ""
    subprocess.run(["git", "init", "-q", str(small.root)], check=True)
    assert "git does not ignore .prov/" in small.prov("init").stderr
    small.write(".gitignore", ".prov/\nbuild/\n")
    assert small.prov("init").stderr == ""


def test_an_error_of_the_system_names_the_file_first(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.EACCES, "Permission denied", "/srv/cache")
    assert report_error(error) == 1
    assert capsys.readouterr().err.startswith("prov: /srv/cache: Permission denied\n")
