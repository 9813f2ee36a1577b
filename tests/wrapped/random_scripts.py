"""Random scripts and random edits of the directory in which they run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NAMES = ("a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "s", "l", "l/a", "n", "none/x")
"""Paths that scripts and edits use: files, folders, links, or nothing."""
PATH = "/usr/bin:/bin"

STATEMENTS = (
    "cat {0}",
    "read -r line < {0} && echo $line",
    "echo {2} > {0}",
    "echo {2} >> {0}",
    "cat {0} {1} > c",
    "mv {0} {1}",
    "cp {0} {1}",
    "cp -r {0} w",  # not into itself: the result would depend on the order of names
    "rm -f {0}",
    "rm -rf {0}",
    "mkdir {0}",
    "mkdir -p {0}",
    "rmdir {0}",
    "ls {0}",
    "ls -a .",
    "echo {0}/*",
    "test -e {0} && echo exists",
    "test -d {0} || echo no folder",
    "test -L {0} && readlink {0}",
    "test -x {0} && echo program",
    "test -s {0} || echo empty",
    "stat -c '%a %F' {0}",
    "ln -s {1} {0}",
    "ln -sfn {1} {0}",
    "ln {0} {1}",
    "chmod +x {0}",
    "chmod 600 {0}",
    "cd {0} && pwd && cat a",
    "cd {0} && echo {2} > b",
    "echo $CC",
    "touch {0}",
    "cat < {0} > {1}",
    "(cd d && mv a b; ls)",
    "echo 'cat b' > s && sh s",
    "printf '#!/bin/sh\\ncat a\\n' > n && chmod +x n && ./n",
    "t=$(mktemp) && cat {0} > $t; cat $t > {1}; rm $t",
    "sort {0} > c",
    "python3 -I -S -c \"import os; print(sorted(os.listdir('{0}')))\"",
    "(cat {0}; echo {2}) > b & wait",
    "if cmp -s {0} {1}; then echo same; fi",
    "while read -r line; do test -e $line && echo $line; done < {0}",
)


def script(rng: random.Random) -> str:
    """Return a random script."""
    count = rng.randint(1, 5)
    lines = [
        rng.choice(STATEMENTS).format(rng.choice(NAMES), rng.choice(NAMES), rng.randint(0, 2))
        for _ in range(count)
    ]
    return "\n".join([*lines, rng.choice(("true", "true", "true", ":", "test -e a"))])


def edit(rng: random.Random, folder: Path) -> None:
    """Change a directory at random."""
    path, other = folder / rng.choice(NAMES), folder / rng.choice(NAMES)
    with contextlib.suppress(OSError):  # an edit can be impossible
        rng.choice(EDITS)(rng, path, other)


def _write(rng: random.Random, path: Path, _other: Path) -> None:
    path.write_text(f"{rng.randint(0, 2)}\n")


def _make(_rng: random.Random, path: Path, _other: Path) -> None:
    path.mkdir()


def _remove(_rng: random.Random, path: Path, _other: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _link(rng: random.Random, path: Path, _other: Path) -> None:
    _remove(rng, path, path)
    path.symlink_to(rng.choice(NAMES))


def _permit(rng: random.Random, path: Path, _other: Path) -> None:
    path.chmod(rng.choice((0o644, 0o755, 0o600)) | (0o700 * path.is_dir()))


def _rename(_rng: random.Random, path: Path, other: Path) -> None:
    path.rename(other)


def _touch(rng: random.Random, path: Path, _other: Path) -> None:
    os.utime(path, (rng.randint(0, 2**30),) * 2)


def _hardlink(_rng: random.Random, path: Path, other: Path) -> None:
    other.hardlink_to(path)


EDITS: Sequence[Callable[[random.Random, Path, Path], None]] = (
    *(_write,) * 4,
    *(_make, _remove, _link, _permit, _rename, _touch, _hardlink),
)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the mode, and the content or target, of each path in a directory."""
    found = {}
    for path in folder.rglob("*"):
        mode, data = path.lstat().st_mode, b""
        if stat.S_ISREG(mode):
            data = path.read_bytes()
        elif stat.S_ISLNK(mode):
            data = os.fsencode(os.readlink(path))
        found[str(path.relative_to(folder))] = mode, data
    return found


@dataclass(frozen=True, slots=True)
class Ended:
    """What a script printed and left in its directory."""

    code: int
    log: bytes
    files: dict[str, tuple[int, bytes]]


def run_plain(text: str, folder: Path, environment: dict[str, str]) -> Ended:
    """Run a script without prov."""
    done = subprocess.run(
        ["sh", "-c", text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return Ended(done.returncode, done.stdout, contents(folder))


@dataclass(slots=True)
class States:
    """Saved states of a directory, to return to."""

    folder: Path
    saved: Path
    count: int = 0
    kept: list[Path] = field(default_factory=list)

    def save(self) -> Path:
        """Save the present state."""
        self.count += 1
        copy = self.saved / str(self.count)
        subprocess.run(["cp", "-a", self.folder, copy], check=True)
        self.kept.append(copy)
        if len(self.kept) > 6:
            shutil.rmtree(self.kept.pop(0))
        return copy

    def restore(self, copy: Path) -> None:
        """Return to a saved state; the directory itself stays."""
        for path in self.folder.iterdir():
            _remove(random.Random(0), path, path)
        subprocess.run(["cp", "-a", f"{copy}/.", self.folder], check=True)
