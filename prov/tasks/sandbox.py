"""Make the command lines that run tasks in bubblewrap, and the paths that tasks see.

In the sandbox, the WORKDIR, the sysroots and the host tools have the same paths in every project
and on every machine. The sysroots are read-only, the root directory is the captured toolchain, and
there is no network. A task sees only what it declared. Without bubblewrap, a task runs in a clean
environment and the same variables contain the real paths.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from prov.errors import BuildError
from prov.recipes.tables import SANDBOXES
from prov.worktree.path_tokens import NOWHERE, TokenPaths

WORK = "/build/work"
HOSTTOOLS = "/build/hosttools"
SYSROOTS = {"recipe-sysroot": "/build/sysroot", "recipe-sysroot-native": "/build/sysroot-native"}
"""A sysroot's folder in the WORKDIR -> its path in the sandbox."""
DIRECT = "/build/direct"
PYTHON = "/build/python"
USER = "1000"
_NETWORK_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/ca-certificates",
)


def seen_workdir(arch: str, recipe: str, chain: str) -> str:
    """Return the path of a WORKDIR in the sandbox."""
    return f"{WORK}/{arch}/{recipe}/{chain}"


def place_text(workdir: str, tools: str) -> bytes:
    """Return two paths as a text, to compare the paths to which outputs are tied."""
    return f"WORKDIR {workdir}\nHOSTTOOLS {tools}\n".encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class TaskPaths:
    """The paths of one task on the host and as the task sees them."""

    workdir: Path
    name: tuple[str, str, str]
    """Architecture, recipe and chain; they determine the WORKDIR's path in the sandbox."""
    root: Path | None
    """The toolchain's files, used as the root directory; None without a sandbox."""
    links: Path
    """The folder of links to host tools."""
    network: bool = False
    readable: tuple[Path, ...] = ()
    """Other readable paths of the host, for fetching local sources."""
    direct: tuple[tuple[str, Path], ...] = ()
    """Recipe and folder of each `direct` package."""
    at: str = ""
    """Without a sandbox: the path at which the WORKDIR is mounted; empty: its own path."""
    mounter: str = ""
    """The path of bwrap, for mounting the WORKDIR `at` a path."""

    @property
    def seen_workdir(self) -> str:
        """The WORKDIR's path as seen by the task."""
        return self.at or str(self.workdir) if self.root is None else seen_workdir(*self.name)

    @property
    def seen_links(self) -> str:
        return str(self.links) if self.root is None else HOSTTOOLS

    def seen_sysroot(self, folder: str) -> str:
        """Return a sysroot's path as seen by the task."""
        return f"{self.seen_workdir}/{folder}" if self.root is None else SYSROOTS[folder]

    def seen_direct(self) -> dict[str, str]:
        """Return the folders of `direct` packages as seen by the task, by recipe."""
        return {
            name: str(folder) if self.root is None else f"{DIRECT}/{name}"
            for name, folder in self.direct
        }

    def places(self) -> TokenPaths:
        """Return the paths that tokens stand for in the task's WORKDIR, as seen by the task."""
        seen = {
            b"W": self.seen_workdir,
            b"S": self.seen_sysroot("recipe-sysroot"),
            b"N": self.seen_sysroot("recipe-sysroot-native"),
            b"H": self.seen_links,
        }
        paths = {letter: os.fsencode(path) for letter, path in seen.items()}
        if self.root is not None:
            return TokenPaths(paths, constant=True)
        real = {letter: os.path.realpath(path) for letter, path in paths.items()}
        return TokenPaths(
            paths, tuple((path, letter) for letter, path in real.items() if path != paths[letter])
        )

    def sysroot_places(self) -> TokenPaths:
        """Return the paths that tokens stand for in a sysroot, where WORKDIR does not exist."""
        places = self.places()
        return replace(places, paths={**places.paths, b"W": NOWHERE})

    def place(self) -> bytes:
        """Return the paths to which an output is tied if it is not relocatable."""
        return place_text(
            self.seen_workdir, HOSTTOOLS if self.root is not None else str(self.links.parent)
        )

    @property
    def seen_python_path(self) -> str:
        return str(python_path()) if self.root is None else PYTHON


def python_path() -> Path:
    """Return the folder from which Python tasks import pathspec."""
    import pathspec

    return Path(pathspec.__file__).parent.parent


def bubblewrap(choice: str) -> str | None:
    """Return the path of bwrap, or None to run tasks without a sandbox.

    Raises BuildError if the choice is `bwrap` and it cannot be used.
    """
    if choice not in SANDBOXES:
        raise BuildError(f"invalid sandbox {choice!r}", hint=f"use {' or '.join(SANDBOXES)}")
    if choice == "none":
        return None
    program, reason = usable_bubblewrap()
    if program is None and choice == "bwrap":
        raise BuildError(
            f'sandbox "bwrap" cannot be used: {reason}',
            hint='install bubblewrap, or set sandbox = "auto"',
        )
    return program


@cache
def usable_bubblewrap() -> tuple[str | None, str]:
    program = shutil.which("bwrap")
    if program is None:
        return None, "bwrap is not on PATH"
    trial = [
        program,
        "--unshare-all",
        "--unshare-user",
        "--uid",
        USER,
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "true",
    ]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"bwrap fails here: {done.stderr.strip()}"
    return program, ""


def mounted_command(task_paths: TaskPaths, command: Sequence[str], *, directory: str) -> list[str]:
    """Return a command line that runs a command on the host, with the WORKDIR mounted at `at`."""
    return mounted_at(
        task_paths.mounter, task_paths.workdir, task_paths.at, command, directory=directory
    )


def mounted_at(
    mounter: str, folder: Path, at: str, command: Sequence[str], *, directory: str
) -> list[str]:
    """Return a command line that runs a command on the host with `folder` mounted at the path `at`.

    If the path does not exist, mount an empty folder over its nearest existing parent, and mount
    the parent's entries in it.
    """
    above = Path(at)
    while not above.is_dir():
        above = above.parent
    bound = ["--dev-bind", "/", "/"]
    if above != Path(at):
        bound += ["--tmpfs", str(above)]
        for entry in sorted(above.iterdir()):
            bound += ["--dev-bind", str(entry), str(entry)]
    bound += ["--bind", str(folder), at]
    return [mounter, *bound, "--die-with-parent", "--chdir", directory, *command]


def confined_command(program: str, folder: Path, at: Path, command: Sequence[str]) -> list[str]:
    """Return a command line that runs a command on the host, read-only and without a network.

    `folder` is mounted at `at`, which must be a folder, and is the only writable one. /run, which
    contains the sockets of services, is empty.
    """
    return [
        program,
        *("--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run"),
        *("--bind", str(folder), os.path.realpath(at), "--chdir", str(at)),
        *command,
    ]


def _root_mounts(root: Path) -> list[str]:
    """Return mounts for a captured toolchain; /etc must exist already."""
    mounts = ["--ro-bind", str(root / "usr"), "/usr"]
    mounts += _entry_mounts(root, "", ("usr", "etc"))
    if (root / "etc").is_dir():
        mounts += _entry_mounts(root / "etc", "/etc", ())
    return mounts


def _entry_mounts(folder: Path, at: str, left_out: Collection[str]) -> list[str]:
    """Return mounts for the entries of a captured folder.

    A link stays a link: bwrap would follow it to a file of the host, which may not exist.
    """
    mounts = []
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            mounts += ["--symlink", os.readlink(entry), f"{at}/{entry.name}"]
        elif entry.name not in left_out:
            mounts += ["--ro-bind", str(entry), f"{at}/{entry.name}"]
    return mounts


def sandbox_command(
    program: str,
    task_paths: TaskPaths,
    command: Sequence[str],
    *,
    directory: str,
    writable: str = "",
    terminal: bool = False,
) -> list[str]:
    """Return a command line that runs a command in a task's sandbox.

    `writable` names the sysroot that the command may change, if any. With `terminal`, the command
    keeps its session and its controlling terminal, which must not be the user's.
    """
    assert task_paths.root is not None
    bound = _root_mounts(task_paths.root)
    if task_paths.network:
        for name in _NETWORK_FILES:
            bound += ["--ro-bind-try", name, name]
    seen = task_paths.seen_workdir
    bound += [
        "--bind",
        str(task_paths.workdir),
        seen,
        "--ro-bind",
        str(task_paths.links),
        HOSTTOOLS,
    ]
    for folder, place in SYSROOTS.items():
        if (task_paths.workdir / folder).is_dir():
            how = "--bind" if folder == writable else "--ro-bind"
            bound += [
                how,
                str(task_paths.workdir / folder),
                place,
                "--ro-bind",
                str(task_paths.workdir / folder),
                f"{seen}/{folder}",
            ]
    for name, own in task_paths.direct:
        bound += ["--ro-bind", str(own), f"{DIRECT}/{name}"]
    for path in task_paths.readable:
        bound += ["--ro-bind-try", str(path), str(path)]
    if command[0] == sys.executable:
        bound += _python_mounts()
    return [
        program,
        "--unshare-all",
        "--unshare-user",
        *("--cap-drop", "ALL"),
        *(["--share-net"] if task_paths.network else []),
        *("--uid", USER, "--gid", USER, "--hostname", "prov"),
        "--die-with-parent",
        *([] if terminal else ["--new-session"]),
        *("--tmpfs", "/tmp", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/etc"),
        *bound,
        *("--chdir", directory),
        *command,
    ]


def _python_mounts() -> list[str]:
    """Return read-only mounts for prov's own interpreter and its libraries."""
    mounts = []
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if prefix != "/usr":
            mounts += ["--ro-bind", prefix, prefix]
    import pathspec

    own = Path(pathspec.__file__).parent
    return [*mounts, "--ro-bind", str(own), f"{PYTHON}/{own.name}"]


def interpreter_tools() -> tuple[str, ...]:
    """Return the host tools needed by Python tasks: the interpreter, if it is the system's."""
    if sys.base_prefix != "/usr":
        return ()
    version = sys.version_info.major
    # pydoc's package depends on the complete standard library; python3's package has only a part
    return (f"/usr/bin/python{version}", f"/usr/bin/pydoc{version}?")
