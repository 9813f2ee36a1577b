"""Tests of running commands under strace."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.reads.strace import Strace, wait_for_end

pytestmark = pytest.mark.process

PATH = "/usr/local/bin:/usr/bin:/bin"


def test_strace_is_required(tmp_path: Path) -> None:
    with pytest.raises(ProvError, match="strace is not installed"):
        Strace.find(str(tmp_path))


FAKE = """\
#!/bin/sh
case $1 in --seccomp-bpf) echo 'strace: no filter' >&2; exit 1 ;; esac
%s
"""


@pytest.mark.parametrize("broken", [True, False])
def test_a_strace_without_filters(tmp_path: Path, broken: bool) -> None:
    fake = tmp_path / "strace"
    end = "echo 'strace: ptrace: Operation not permitted' >&2; exit 1" if broken else "exit 0"
    fake.write_text(FAKE % end)
    fake.chmod(0o755)
    if broken:
        with pytest.raises(ProvError, match="cannot trace: strace: ptrace: Operation not perm"):
            Strace.find(f"{tmp_path}:{PATH}")
    else:
        assert "--seccomp-bpf" not in Strace.find(f"{tmp_path}:{PATH}").options


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", -9), ("true", 0)])
def test_the_command_keeps_its_exit_status(tmp_path: Path, script: str, status: int) -> None:
    output = tmp_path / "trace"
    argv = Strace.find(PATH).wrap(["sh", "-c", script], output)
    done = subprocess.run(argv, check=False, env={"PATH": PATH}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
    assert wait_for_end(output)
    assert b"execve(" in output.read_bytes()


def test_a_trace_without_an_end(tmp_path: Path) -> None:
    output = tmp_path / "trace"
    output.write_text("1 clone() = 2\n1 +++ exited with 0 +++\n")
    assert not wait_for_end(output)
    output.write_text("1 clone() = 2\n2    +++ exited with 0 +++\n1    +++ exited with 0 +++\n")
    assert wait_for_end(output)
