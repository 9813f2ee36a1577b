"""Tests of the uses of single system calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reads.test_trace import kinds, traced

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


REASONS = [
    ("1 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3<socket:[1]>", "", "opens a network socket"),
    ("1 socket(AF_UNIX, SOCK_DGRAM, 0) = 3<socket:[1]>", "", "opens a network socket"),
    (
        '1 connect(3<s>, {sa_family=AF_UNIX, sun_path="/d/sub/g"}, 9) = 0',
        "",
        "connects to /d/sub/g",
    ),
    ('1 connect(3<s>, {sa_family=AF_UNIX, sun_path=@"x"}, 9) = 0', "", "connects to"),
    ('1 open("/proc/self/stat", O_RDONLY) = 3</proc/1/stat>', "", "uses /proc/self/stat"),
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
