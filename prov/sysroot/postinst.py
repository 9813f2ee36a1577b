"""Run the `postinst-*` scripts of packages in a sysroot, such as one that writes a module index.

The scripts run in a private copy of the sysroot, so they cannot write into the pool. The files that
they create or change become part of the sysroot's tree. Such a file is deleted with its package,
and created again if anything in the sysroot changes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from prov.errors import SysrootError
from prov.processes import run_command
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import FileNode, Pair, at_path, read_listing, write_listing
from prov.worktree.merge import Edits, Owned
from prov.worktree.verify import differences

FOLDER = b"usr/bin"
PREFIX = b"postinst-"
TAIL = 5


class ScriptRunner(Protocol):
    """Runs a script of a sysroot with the sysroot's environment; returns exit status and output."""

    def __call__(self, script: str, directory: Path) -> tuple[int, bytes]: ...


Confine = Callable[[Path, list[str]], list[str]]
"""Returns the command line that runs a command with write access to one folder only."""


def plain_run(
    environment: Mapping[str, str], confine: Confine = lambda _directory, command: command
) -> ScriptRunner:
    """Return a runner that puts the sysroot's programs before the host's on PATH."""

    def run(script: str, directory: Path) -> tuple[int, bytes]:
        own = [f"{directory}/{folder}" for folder in ("usr/bin", "usr/sbin", "bin", "sbin")]
        places = {
            "SYSROOT": str(directory),
            "RECIPE_SYSROOT": str(directory),
            "RECIPE_SYSROOT_NATIVE": str(directory),
        }
        variables = {
            **environment,
            **places,
            "PATH": ":".join([*own, environment.get("PATH", os.defpath)]),
        }
        try:
            ended = run_command(
                confine(directory, [f"{directory}/{script}"]), cwd=directory, env=variables
            )
        except OSError as error:
            return 126, str(error).encode()
        return ended.status, ended.output

    return run


def scripts(writer: ObjectWriter, pair: Pair) -> list[bytes]:
    """Return the paths of a sysroot's scripts, sorted by name."""
    folder = at_path(writer, pair, FOLDER)
    if folder is None or not folder.is_directory:
        return []
    names = [
        name for name, node in read_listing(writer, folder.pair).items() if name.startswith(PREFIX)
    ]
    return [FOLDER + b"/" + name for name in sorted(names)]


def run_scripts(
    writer: ObjectWriter, directory: Path, pair: Pair, packages: Sequence[Owned], run: ScriptRunner
) -> Edits:
    """Run a sysroot's scripts in a directory of private, sealed copies; return their changes.

    Raises SysrootError, naming package and script, if a script fails.
    """
    for path in scripts(writer, pair):
        script = os.fsdecode(path)
        code, log = run(script, directory)
        if code:
            owners = [owner for owner, part in packages if at_path(writer, part, path) is not None]
            output = (
                " / ".join(log.decode("utf-8", "replace").strip().splitlines()[-TAIL:])
                or f"exit status {code}"
            )
            raise SysrootError(
                f"{os.path.basename(script)} of {' and '.join(owners)} failed in {directory}:"
                f" {output}",
                hint="fix the script in its package, then run the command again",
            )
    changes = {change.path: change for change in differences(writer, directory, pair)}
    return {
        path: None if change.what == "deleted" else _node(writer, directory, path)
        for path, change in changes.items()
    }


def _node(writer: ObjectWriter, directory: Path, path: bytes) -> FileNode:
    """Record the entry that a script left at a path, with its content."""
    full = os.path.join(os.fsencode(directory), path)
    mode = os.lstat(full).st_mode
    if stat.S_ISLNK(mode):
        return FileNode(mode, writer.add("blob", os.readlink(full)))
    if stat.S_ISREG(mode):
        return FileNode(mode, writer.add("blob", Path(os.fsdecode(full)).read_bytes()))
    if stat.S_ISDIR(mode):
        names = os.listdir(full)
        inside = {name: _node(writer, directory, path + b"/" + name) for name in names}
        own = FileNode(stat.S_IFDIR | stat.S_IMODE(mode))
        return FileNode(mode, pair=write_listing(writer, {b".": own, **inside}, mtimes=False))
    raise SysrootError(
        f"{os.fsdecode(full)}: a postinst script created a special file",
        hint="change the script to create only files, directories and symlinks",
    )
