"""Tests of what a trace states that a command read."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from prov.processes import run_command
from prov.reads.recorded import Recorded
from prov.reads.strace import Strace, wait_for_end
from prov.reads.trace import Started, read_trace
from prov.reads.uses import Trace
from prov.store.repository import Store
from prov.worktree.exclude import Exclude
from prov.worktree.snapshot import capture
from tests.reads.test_namespace import FILES, Files

PATH = "/usr/local/bin:/usr/bin:/bin"


class Programs(Files):
    """Files before a command; all programs are static."""

    def head(self, path: bytes) -> bytes:
        return b"\x7fELF\x02\x01" + bytes(58)


def traced(tmp_path: Path, *lines: str) -> Trace:
    """Return what the lines of a trace state."""
    output = tmp_path / "trace"
    text = ['1 execve("/d/f", ["f"], 0x7 /* 3 vars */) = 0', *lines]
    output.write_text("".join(f"{line}\n" for line in text))
    return read_trace(output, Programs(FILES), Started(b"/d"))


def kinds(trace: Trace) -> dict[str, str]:
    return {
        os.fsdecode(path): "".join(sorted(use.kinds)) for path, use in sorted(trace.uses.items())
    }


def test_a_call_that_a_kill_interrupts_can_have_happened(tmp_path: Path) -> None:
    trace = traced(tmp_path, '1 unlink("f" <unfinished ...>', "1 +++ killed by SIGKILL +++")
    assert trace.opens == "a process was killed during unlink"


def test_a_wrapper_is_ignored(tmp_path: Path) -> None:
    output = tmp_path / "trace"
    output.write_text(
        '1 execve("/usr/bin/bwrap", [], 0x7) = 0\n'
        '1 mount("/x", "/y", NULL, 0, NULL) = 0\n'
        "1 clone(child_stack=NULL, flags=CLONE_NEWNS|SIGCHLD) = 2\n"
        '2 stat("/usr", {}) = 0\n'
        '2 execve("/d/f", [], 0x7) = 0\n'
        '2 stat("sub", {}) = 0\n'
    )
    trace = read_trace(output, Programs(FILES), Started(b"/d", b"/usr/bin/bwrap"))
    assert kinds(trace) == {"/d/f": "x", "/d/sub": "s"}
    assert trace.reads().is_complete


# real commands


def run(store: Store, folder: Path, *command: str) -> tuple[Trace, str]:
    """Run a command under strace in a folder; return what it used, and its output."""
    with store.objects.writer() as writer:
        before = capture(store, folder, writer, exclude=Exclude(())).pair
    output = folder.parent / "trace"
    argv = Strace.find(PATH).wrap(command, output)
    done = run_command(argv, cwd=folder, env={"PATH": PATH})
    assert done.status == 0, done.output
    ended = wait_for_end(output)
    path = os.fsencode(folder.resolve())
    view = Recorded(store.objects, path, before)
    return read_trace(output, view, Started(path), ended=ended), done.output.decode()


def inside(trace: Trace, folder: Path) -> dict[str, str]:
    """Return the uses in a folder."""
    top = f"{folder.resolve()}/"
    return {
        path.removeprefix(top): letters
        for path, letters in kinds(trace).items()
        if path.startswith(top)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of sources."""
    path = tmp_path / "src"
    path.mkdir()
    (path / "main.c").write_text('#include "a.h"\nint main(void) { return A; }\n')
    (path / "include").mkdir()
    (path / "include/a.h").write_text("#define A 0\n")
    return path


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_a_compiler(store: Store, folder: Path) -> None:
    trace, _ = run(store, folder, "gcc", "-I", "none", "-I", "include", "main.c", "-o", "main")
    uses = inside(trace, folder)
    assert uses["include/a.h"] == "o"
    assert uses["none"] == "m"
    assert uses["a.h"] == "m"
    assert "w" in uses["main"]
    assert (trace.opens, trace.probes) == ("", "")
    gcc = os.path.realpath("/usr/bin/gcc").encode()
    assert "x" in trace.uses[gcc].kinds


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_runs_a_program_that_it_built_and_deleted(store: Store, folder: Path) -> None:
    (folder / "Makefile").write_text("all:\n\tgcc -Iinclude main.c -o t && ./t && rm t\n")
    trace, _ = run(store, folder, "make")
    assert (trace.opens, trace.probes) == ("", "")
    assert "Makefile" in inside(trace, folder)


SCRIPT = """\
import os, pathlib, threading
os.chdir("include")
print(open("a.h").read())
os.rename("a.h", "b.h")
thread = threading.Thread(target=lambda: os.stat("../none"))
os.symlink("..", "up")
assert os.path.exists("up/main.c")
open("x\\udcff\\n>", "w").write("1")
os.listdir("..")
for _ in range(3):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""


@pytest.mark.process
def test_python(store: Store, folder: Path) -> None:
    trace, printed = run(store, folder, sys.executable, "-I", "-S", "-c", SCRIPT)
    assert "#define A" in printed
    uses = inside(trace, folder)
    assert uses["include/a.h"] == "ow"
    assert uses["main.c"] == "s"
    assert uses["include/b.h"] == "w"
    assert uses["include/x\udcff\n>"] == "w"
    assert "d" in kinds(trace)[str(folder.resolve())]
    assert (trace.opens, trace.probes) == ("", "")


@pytest.mark.process
def test_a_script_that_was_created_and_deleted(store: Store, folder: Path) -> None:
    script = "printf '#!/bin/sh\\ntrue\\n' > s; chmod +x s; ./s; rm s"
    trace, _ = run(store, folder, "sh", "-c", script)
    assert "s, which was executed, does not exist any more" in trace.opens


@pytest.mark.process
def test_a_process_that_outlives_the_command(store: Store, folder: Path) -> None:
    trace, _ = run(store, folder, "sh", "-c", "sleep 3 > /dev/null 2>&1 &")
    assert trace.opens == "a process outlives the command"
