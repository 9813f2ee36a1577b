"""Errors become exit statuses and clear lines."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from prov_cli.app import report_error

import prov
from prov.errors import ProvError
from tests.cli.story import Project
from tests.commands import PROV


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (ProvError("a\nb"), 1, "prov: a / b\n"),
        (ProvError("no recipe", hint="write one"), 1, "prov: no recipe\n  hint: write one\n"),
        (OSError(errno.EIO, "broken"), 1, "check the disk: run `dmesg` for the kernel's messages"),
        (OSError(errno.ENOSPC, "full"), 1, "  hint: free space on the disks"),
        (ValueError("bug"), 3, "prov: this is a bug in prov"),
    ],
)
def test_an_error_has_a_status_and_a_line(
    error: Exception, status: int, lines: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_error(error) == status
    assert lines in capsys.readouterr().err


def test_version() -> None:
    done = subprocess.run([PROV, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"prov {prov.__version__}\n"


def test_an_expected_error_has_no_traceback(small: Project) -> None:
    assert small.refused("log") == small.refused("builds")
    assert small.refused("log") == (
        f"prov: no store at {small.root}/.prov hint: run `prov init` to create a store"
    )


def test_the_module_of_another_project_is_named(small: Project) -> None:
    small.write("prov/__init__.py", "__version__ = '2'\n")
    program = "import prov, prov_cli.app; prov.__file__ = None; prov_cli.app.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the package `prov` (W3C provenance) overwrote modules of git-prov" in done.stderr
