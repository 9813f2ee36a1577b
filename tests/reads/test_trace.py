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


USES = [
    (['1 openat(AT_FDCWD</d>, "/to-d/sub/g", O_RDONLY) = 3</d/sub/g>'], "/d/sub/g o /to-d l"),
    (['1 openat(AT_FDCWD</d>, "none/x", O_RDONLY) = -1 ENOENT (No such file)'], "/d/none/x m"),
    (['1 openat(3</d/sub>, "g", O_RDONLY|O_PATH) = 4</d/sub/g>'], "/d/sub/g s"),
    (['1 chdir("sub") = 0', '1 stat("g", 0x7) = 0'], "/d/sub s /d/sub/g s"),
    (["1 fchdir(3</d/sub>) = 0", '1 access("g", R_OK) = 0'], "/d/sub/g s"),
    (['1 readlink("to-f", "f", 99) = 1'], "/d/to-f l"),
    (['1 lstat("to-f", {}) = 0'], "/d/to-f s"),
    (["1 getdents64(3</d/sub>, 0x5 /* 3 entries */, 9) = 4"], "/d/sub d"),
    (['1 openat(AT_FDCWD</d>, "new", O_WRONLY|O_CREAT, 0666) = 3</d/new>'], "/d s /d/new w"),
    (
        ['1 openat(AT_FDCWD</d>, "sub/g", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</d/sub/g>'],
        "/d/sub/g w",
    ),
    (['1 openat(AT_FDCWD</d>, "sub/g", O_WRONLY|O_APPEND) = 3</d/sub/g>'], "/d/sub/g ow"),
    (
        [
            '1 openat(AT_FDCWD</d>, "new", O_WRONLY|O_CREAT, 0666) = 3</d/new>',
            '1 openat(AT_FDCWD</d>, "new", O_RDONLY) = 3</d/new>',
            '1 rename("new", "other") = 0',
            '1 stat("other", {}) = 0',
        ],
        "/d s /d/new w /d/other w",
    ),
    (
        [
            '1 rename("sub", "moved") = 0',
            '1 openat(AT_FDCWD</d>, "moved/g", O_RDONLY) = 3</d/moved/g>',
        ],
        "/d s /d/moved w /d/sub dw /d/sub/g o",
    ),
    (['1 unlink("sub/g") = 0', '1 rmdir("sub") = 0'], "/d/sub dw /d/sub/g w"),
    (['1 mkdir("sub", 0777) = -1 EEXIST (File exists)'], "/d/sub s"),
    (['1 mkdir("a", 0777) = 0', '1 stat("a/b", 0x7) = -1 ENOENT (No)'], "/d s /d/a w"),
    (['1 symlink("sub", "a") = 0', '1 stat("a/g", {}) = 0'], "/d s /d/a w /d/sub/g s"),
    (['1 link("sub/g", "a") = 0'], "/d s /d/a w /d/sub/g ow"),
    (['1 chmod("sub/g", 0755) = 0'], "/d/sub/g ow"),
    (['1 openat(AT_FDCWD</d>, "/dev/null", O_RDONLY) = 3</dev/null>'], ""),
    (
        [
            '1 stat("", 0x7) = -1 EFAULT (Bad address)',
            '1 newfstatat(3</x>, "", {}, AT_EMPTY_PATH) = 0',
        ],
        "",
    ),
    (
        [
            "1 vfork( <unfinished ...>",
            '2 chdir("sub") = 0',
            '2 execve("g", ["g"], 0x7) = 0',
            "1 <... vfork resumed>) = 2",
            '1 stat("f", {}) = 0',
            '2 stat("g", {}) = 0',
            "2 +++ exited with 0 +++",
        ],
        "/d/f s /d/sub s /d/sub/g sx",
    ),
    (
        [
            "1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, exit_signal=0}, 88) = 2",
            '2 chdir("sub") = 0',
            '1 stat("g", {}) = 0',
        ],
        "/d/sub s /d/sub/g s",
    ),
]


@pytest.mark.parametrize(("lines", "expected"), USES)
def test_uses(tmp_path: Path, lines: list[str], expected: str) -> None:
    trace = traced(tmp_path, *lines)
    words = expected.split()
    uses = dict(zip(words[::2], words[1::2], strict=True))
    uses["/d/f"] = "".join(sorted({*uses.get("/d/f", ""), "x"}))
    assert kinds(trace) == uses
    assert (trace.opens, trace.probes) == ("", "")


PROBES = "the command "
REASONS = [
    ("1 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3<socket:[1]>", "", "opens a network socket"),
    ("1 socket(AF_UNIX, SOCK_DGRAM, 0) = 3<socket:[1]>", "", "opens a network socket"),
    (
        '1 connect(3<s>, {sa_family=AF_UNIX, sun_path="/d/sub/g"}, 9) = 0',
        "",
        "connects to /d/sub/g",
    ),
    ('1 connect(3<s>, {sa_family=AF_UNIX, sun_path=@"x"}, 9) = 0', "", "connects to"),
    ('1 open("/proc/self/maps", O_RDONLY) = 3</proc/1/maps>', "", "uses /proc/self/maps"),
    ("1 ptrace(PTRACE_TRACEME) = -1 EPERM (Operation not permitted)", "ptrace", "ptrace"),
    ("1 unshare(CLONE_NEWNS) = 0", "unshare", "unshare"),
    ("1 shmget(0x1, 1, 0) = 1", "", "shmget"),
    ("1 what is this", "unknown line", "unknown line"),
    ('9 stat("f", {}) = 0', "process 9", "process 9"),
    ('1 stat("none", {}) = 0', "/d/none appeared", "/d/none appeared"),
    ('1 open("f", O_RDONLY) = 3</other/f>', "/other/f was opened as /d/f", "opened"),
    ("1 clone(child_stack=NULL, flags=CLONE_NEWNS|SIGCHLD) = 2", "namespaces", "namespaces"),
]


@pytest.mark.parametrize(("line", "opens", "probes"), REASONS)
def test_reasons_for_an_incomplete_trace(
    tmp_path: Path, line: str, opens: str, probes: str
) -> None:
    trace = traced(tmp_path, line)
    assert bool(trace.opens) == bool(opens)
    assert opens in trace.opens
    assert trace.probes
    assert probes in trace.probes
    assert not trace.reads().is_complete


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
