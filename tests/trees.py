"""Generate random directories by steps, and describe directories completely."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

AS_ROOT = os.geteuid() == 0


class Step(NamedTuple):
    """One change to a directory; the numbers select among its entries."""

    what: str
    where: int
    name: bytes
    other: int
    data: bytes
    mode: int
    mtime: int


NAMES = [
    b"a",
    b"b",
    b"c",
    b".git",
    b".GIT",
    b"%x",
    b"%attributes",
    b"a b",
    b"a\tb",
    b"a\nb",
    b"a\rb",
    b"a\\",
    b"\xff\xfe",
]
NAMES += [b".gitmodules", b"git~1", ".g\u200cit".encode(), b"=", b"\\s", b"-", b" "]
MODES = [0o644, 0o755, 0o600, 0o444, 0o4755, 0o2750, 0o1777, 0o7777, 0o500] + (
    [0o000, 0o200] if AS_ROOT else []
)
KINDS = ["file"] * 5 + ["directory"] * 4 + ["symlink"] * 2 + ["hardlink"] * 4 + ["fifo", "socket"]
KINDS += ["char", "block"] if AS_ROOT else []
CHANGES = ["remove", "rename", "rewrite", "chmod", "date"] * 3

names = st.sampled_from(NAMES) | st.binary(min_size=1, max_size=6).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
mtimes = st.sampled_from([0, 1, -1, 1_700_000_000_000_000_000]) | st.integers(-(10**18), 10**19)


def steps(*, changes: bool, max_size: int = 14) -> st.SearchStrategy[list[Step]]:
    number = st.integers(0, 30)
    what = st.sampled_from(KINDS + (CHANGES if changes else []))
    data = st.sampled_from([b"", b"x", b"y\n", b"dangling/\xff"]) | st.binary(max_size=40)
    return st.lists(
        st.builds(Step, what, number, names, number, data, st.sampled_from(MODES), mtimes),
        max_size=max_size,
    )


def in_order(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a change of a path that applies several changes in order."""

    def change(path: Path) -> None:
        for one in changes:
            one(path)

    return change


def everything(root: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the paths of all directories, top first, and the paths of all other entries."""
    directories, others = [root], list[bytes]()
    for folder, below, files in os.walk(root):
        for name in sorted(below) + sorted(files):
            path = os.path.join(folder, name)
            (directories if os.path.isdir(path) and not os.path.islink(path) else others).append(
                path
            )
    return directories, others


def _touch(path: bytes, mtime: int) -> None:
    os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


def _make(step: Step, path: bytes, others: list[bytes]) -> None:
    if step.what == "file":
        with open(path, "wb") as stream:
            stream.write(step.data)
    elif step.what == "directory":
        os.mkdir(path)
    elif step.what == "symlink":
        os.symlink(step.data.replace(b"\0", b"0") or b"nowhere", path)
    elif step.what == "hardlink":
        if not others:
            return
        os.link(others[step.other % len(others)], path, follow_symlinks=False)
        return
    else:
        kind = {
            "fifo": stat.S_IFIFO,
            "socket": stat.S_IFSOCK,
            "char": stat.S_IFCHR,
            "block": stat.S_IFBLK,
        }[step.what]
        os.mknod(
            path,
            kind | 0o600,
            os.makedev(step.other, 300 + step.where) if step.what in ("char", "block") else 0,
        )
    if step.what != "symlink":
        _chmod(path, step.mode)
    _touch(path, step.mtime)


def _chmod(path: bytes, mode: int) -> None:
    """Set a mode; a user other than root keeps access, to be able to inspect the tree."""
    own = 0o700 if os.path.isdir(path) else 0o600
    os.chmod(path, mode if os.geteuid() == 0 else mode | own)


def _change(step: Step, path: bytes, victim: bytes) -> None:
    plain = not os.path.islink(victim)
    if step.what == "remove":
        if plain and os.path.isdir(victim):
            shutil.rmtree(victim)
        else:
            os.unlink(victim)
    elif step.what == "rename":
        if not (path + b"/").startswith(victim + b"/"):
            os.rename(victim, path)
    elif step.what == "rewrite":
        if plain and os.path.isfile(victim):
            with open(victim, "wb") as stream:
                stream.write(step.data)
            _touch(victim, step.mtime)
    elif step.what == "chmod":
        if plain:
            _chmod(victim, step.mode)
    else:
        _touch(victim, step.mtime)


def carry_out(root: Path, sequence: Sequence[Step]) -> None:
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    for step in sequence:
        directories, others = everything(top)
        path = os.path.join(directories[step.where % len(directories)], step.name)
        there = directories[1:] + others
        if (step.what in KINDS or step.what == "rename") and os.path.lexists(path):
            continue
        if step.what in KINDS:
            _make(step, path, others)
        elif there:
            _change(step, path, there[step.other % len(there)])


Seen = dict[bytes, tuple[Any, ...]]


def describe(root: Path, *, mtimes: bool = True) -> Seen:
    """Return a complete description of a directory, except the top's own mtime."""
    top = os.fsencode(root)
    directories, others = everything(top)
    seen: Seen = {b"": (stat.S_IMODE(os.stat(top).st_mode),)}
    groups: dict[tuple[int, int], bytes] = {}
    for path in sorted(directories[1:] + others):
        state, content = os.lstat(path), b""
        if stat.S_ISREG(state.st_mode):
            with open(path, "rb") as stream:
                content = stream.read()
        elif stat.S_ISLNK(state.st_mode):
            content = os.readlink(path)
        at = path[len(top) + 1 :]
        first = (
            at
            if stat.S_ISDIR(state.st_mode)
            else groups.setdefault((state.st_dev, state.st_ino), at)
        )
        seen[at] = (
            oct(state.st_mode),
            content,
            state.st_rdev,
            state.st_mtime_ns if mtimes else 0,
            first,
        )
    return seen
