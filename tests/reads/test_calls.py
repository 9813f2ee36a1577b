"""Tests of the parser, on lines that strace printed."""

from __future__ import annotations

import pytest

from prov.reads.calls import Call, End, PathArgument, Unparsed, described, parents, parse_calls

ODD_NAMES = {
    rb"a) = 3": b"a) = 3",
    rb"q\"uote": b'q"uote',
    rb"lt\74gt\76x": b"lt<gt>x",
    rb"new\nline\ttab": b"new\nline\ttab",
    rb"\377\303\251": b"\xff\xc3\xa9",
    rb"back\\slash": b"back\\slash",
    rb"comma, x": b"comma, x",
    rb" <unfinished ...": b" <unfinished ...",
}
"""Names as strace prints them, and the names."""


def only(line: bytes) -> Call:
    """Return the call of one line."""
    (call,) = parse_calls([line])
    assert isinstance(call, Call)
    return call


@pytest.mark.parametrize("printed", ODD_NAMES)
def test_odd_names(printed: bytes) -> None:
    in_brackets = printed.replace(b"<", rb"\74")
    line = b'7  openat(AT_FDCWD</w>, "%b", O_WRONLY|O_CREAT, 0777) = 3</w/%b>\n'
    line %= printed, in_brackets
    call = only(line)
    assert call.paths == (PathArgument(b"/w", ODD_NAMES[printed]),)
    assert (call.result, call.error) == (3, "")
    assert call.opened == b"/w/" + ODD_NAMES[printed]


CALLS = [
    (
        b'18911 newfstatat(3</w>, "a", {st_mode=S_IFREG|0755, st_size=0, ...}, 0) = 0',
        Call(18911, "newfstatat", (PathArgument(b"/w", b"a"),), b"", 0),
    ),
    (
        b'1 newfstatat(5</w/gone>(deleted), "zz", 0x7f, 0) = -1 ENOENT (No such file or directory)',
        Call(1, "newfstatat", (PathArgument(b"/w/gone", b"zz"),), b"", -1, "ENOENT"),
    ),
    (
        b'1 stat("all", 0x7fff526edd40)       = -1 ENOENT (No such file or directory)',
        Call(1, "stat", (PathArgument(None, b"all"),), b"", -1, "ENOENT"),
    ),
    (
        b'1 renameat2(AT_FDCWD</a>, "x", 4</b>, "y", RENAME_NOREPLACE) = 0',
        Call(1, "renameat2", (PathArgument(b"/a", b"x"), PathArgument(b"/b", b"y")), b"", 0),
    ),
    (
        b'1 symlinkat("to", 4</b>, "y") = 0',
        Call(1, "symlinkat", (PathArgument(None, b"to"), PathArgument(b"/b", b"y")), b"", 0),
    ),
    (
        b"1 getdents64(3</w/sub>, 0x55 /* 2 entries */, 32768) = 48",
        Call(1, "getdents64", (), b"", 48),
    ),
    (
        b"1 io_uring_setup(1, NULL) = -1 ENOSYS (Function not implemented) (INJECTED)",
        Call(1, "io_uring_setup", (), b"", -1, "ENOSYS"),
    ),
    (
        b"1 clone(child_stack=NULL, flags=SIGCHLD) = 2 /* 19141 in strace's PID NS */",
        Call(1, "clone", (), b"", 19141),
    ),
    (b"1 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 4<socket:[22]>", None),
    (b'1 openat(AT_FDCWD</w>, "f", O_RDONLY) = ? ERESTARTSYS (To be restarted)', None),
]


@pytest.mark.parametrize(("line", "expected"), [row for row in CALLS if row[1] is not None])
def test_calls(line: bytes, expected: Call) -> None:
    call = only(line + b"\n")
    fields = ("pid", "name", "paths", "result", "error")
    assert [getattr(call, name) for name in fields] == [getattr(expected, name) for name in fields]


def test_a_described_descriptor() -> None:
    assert only(CALLS[8][0]).opened == b"socket:[22]"
    assert only(CALLS[9][0]).error == "ERESTART"
    assert described(b"3</w/su\\74b>, 0x55 /* 2 entries */, 32768") == b"/w/su<b"
    assert described(b"9, 0x55, 32768") == b""


INTERRUPTED = b"""\
10541 vfork( <unfinished ...>
10547 execve("/usr/bin/cat", ["cat"...], 0x5653 /* 35 vars */ <unfinished ...>
10541 <... vfork resumed>)              = 10547
10547 <... execve resumed>)             = 0
10547 --- SIGCHLD {si_signo=SIGCHLD} ---
10547 unlink("a" <unfinished ...>
10547 +++ killed by SIGKILL +++
10541 +++ exited with 3 +++
"""


def test_calls_that_other_calls_interrupt() -> None:
    events = list(parse_calls(INTERRUPTED.splitlines()))
    assert [getattr(event, "name", "end") for event in events] == ["vfork", "execve", "end", "end"]
    assert events[2:] == [End(10547, "unlink"), End(10541)]
    assert isinstance(events[1], Call)
    assert events[1].paths[0].path == b"/usr/bin/cat"
    assert parents(INTERRUPTED.splitlines()) == {10547: [10541]}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"strace: error",
        b"1 open(",
        b'1 open("a',
        b"1 <... open resumed>) = 3",
        b"x open() = 0",
    ],
)
def test_other_lines_are_reported(line: bytes) -> None:
    assert list(parse_calls([line])) == [Unparsed(line)]


def test_a_reused_number_has_several_parents() -> None:
    lines = [b"1 fork() = 2", b"2 +++ exited with 0 +++", b"3 clone3({flags=0}, 88) = 2"]
    assert parents(lines) == {2: [1, 3]}
