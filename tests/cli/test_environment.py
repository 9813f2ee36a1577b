"""Signals that the process that starts prov ignores or blocks."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from prov.errors import ProvError
from prov.processes import exit_status
from tests.cli.story import Project
from tests.commands import PROV

pytestmark = pytest.mark.process

IGNORED = (
    "import os, signal, sys; signal.signal(signal.SIGCHLD,"
    " signal.SIG_IGN);signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM]);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)


def without_statuses(project: Project, *arguments: str) -> int:
    """Run prov from a process that ignores SIGCHLD and blocks signals; return the exit status."""
    command = [sys.executable, "-c", IGNORED, PROV, *arguments]
    return subprocess.run(command, cwd=project.root, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("sandbox", ["none", "auto"])
def test_failure_is_detected_when_sigchld_is_ignored(small: Project, sandbox: str) -> None:
    small.task("echo half > out/file; exit 3")
    assert without_statuses(small, "build", "--sandbox", sandbox, "a:go") == 1
    assert "failed: exit status 3" in small.ask("show", "a:go")
    assert "output/a/go" not in small.refs()
    assert without_statuses(small, "run", "--as", "app:check", "--", "false") == 1
    assert "failed: exit status 1" in small.ask("show", "app:check")


def test_a_library_user_that_ignores_sigchld_gets_an_error() -> None:
    script = (
        "import signal, subprocess; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from prov.processes import exit_status\n"
        "exit_status(subprocess.Popen(['false']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "ProvError" in done.stderr and "SIGCHLD" in done.stderr


def test_exit_status_of_a_process_that_has_ended() -> None:
    process = subprocess.Popen(["false"])
    time.sleep(0.1)
    assert exit_status(process) == 1
    assert issubclass(ProvError, Exception)
