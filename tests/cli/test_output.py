"""Standard output and error: closed, full, a closed pipe, and a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import termios

import pytest

from tests.cli.story import Project
from tests.commands import PROV

pytestmark = pytest.mark.process


def in_shell(project: Project, line: str) -> tuple[int, str]:
    """Run a line of bash in which `$prov` is the program; return exit status and standard error."""
    environment = {**os.environ, "prov": PROV}
    done = subprocess.run(
        ["bash", "-c", line], cwd=project.root, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", ">&- 2>&-", ">&- 2>&- <&-"])
def test_closed_streams(small: Project, streams: str) -> None:
    small.task("echo one > out/file")
    assert in_shell(small, f"$prov build a:go {streams}")[0] == 0
    assert in_shell(small, f"$prov log {streams}") == (0, "")
    assert in_shell(small, f"$prov run --as a:b -- sh -c 'echo text; exit 3' {streams}")[0] == 3
    assert small.ask("checkout", "a:go@output", "got") is not None
    assert (small.root / "got/out/file").read_text() == "one\n"


def test_full_device(small: Project) -> None:
    small.task("echo one > out/file")
    assert in_shell(small, "$prov build a:go 2>/dev/full")[0] == 0
    for line in ("log", "show a:go", "--help", "plan a:go"):
        code, error = in_shell(small, f"$prov {line} >/dev/full")
        assert (code, error) == (1, "prov: standard output: No space left on device\n"), line


def test_closed_pipe(small: Project) -> None:
    small.task("\n".join(f"echo line {number}" for number in range(200)) + "\necho one > out/file")
    small.task("echo two > out/file", "b")
    code, error = in_shell(small, "set -o pipefail; $prov build a:go b:go 2>&1 | true")
    assert (code, error) == (0, "")
    assert "nothing to do" in small.ask("build", "a:go", "b:go")
    assert in_shell(small, "set -o pipefail; $prov show a:go | head -n 1 >/dev/null") == (0, "")
    assert (
        in_shell(small, "set -o pipefail; $prov run --as a:b -- sh -c 'seq 100000; exit 3' | true")[
            0
        ]
        == 3
    )
    assert small.ask("show", "a:b").endswith("    100000\n")


def test_encoding_that_lacks_the_characters(small: Project) -> None:
    for encoding in ("latin-1", "ascii"):
        small.environment["PYTHONIOENCODING"] = encoding
        assert "TARGET" in small.ask("build", "--help")
    small.write("d/na\u00efve \u2026", "x")
    small.ask("capture", "d", "--as", "a:b")
    assert "A na\\xefve \\u2026" in small.ask("diff", "a:b")


def test_escape_sequences_do_not_reach_a_terminal(small: Project) -> None:
    small.write("d/boo\x1b[31m\x1b]0;title\x07", "x")
    small.write("d/two\nlines", "x")
    small.write("d/\u202egpj.exe", "x")
    small.ask("capture", "d", "--as", "a:b")
    small.task("printf '\\033]0;title\\007'; exit 1")
    for arguments in (
        ["diff", "a:b"],
        ["diff", "--patch", "a:b"],
        ["build", "a:go"],
        ["show", "a:go"],
    ):
        out = on_terminal(small, *arguments)
        assert b"title" in out
        assert (
            b"\x1b]0;" not in out and b"\x1b[31m\x1b]" not in out and "\u202e".encode() not in out
        ), arguments
    assert "A two\\nlines\n" in small.ask("diff", "a:b")


def on_terminal(project: Project, *arguments: str) -> bytes:
    """Return the output of a command on a terminal."""
    return run_on_terminal(project, [PROV, *arguments])


def run_on_terminal(project: Project, command: list[str]) -> bytes:
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(project.root)
        termios.tcsetwinsize(0, (24, 80))
        os.execve(command[0], command, {**os.environ, "GIT_PAGER": "cat"})
    out = b""
    try:
        while data := os.read(fd, 4096):
            out += data
    except OSError:
        pass
    os.waitpid(pid, 0)
    os.close(fd)
    return out
