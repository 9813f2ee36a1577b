"""`postinst-*` scripts: what a package does in the final sysroot, such as to write an index of
modules.

They run in a private copy of the sysroot, so that none of them can write into the pool. What they
made or changed is found as a difference, and becomes part of the sysroot's tree: it goes when its
package goes, and is made again when anything that it may depend on changes.
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
    """Runs a script of a sysroot with that sysroot's environment; returns exit status and what it
    printed.
    """

    def __call__(self, script: str, directory: Path) -> tuple[int, bytes]: ...


Confine = Callable[[Path, list[str]], list[str]]
"""A folder and a command -> the command line that lets it write to nothing else."""


def plain_run(
    environment: Mapping[str, str], confine: Confine = lambda _directory, command: command
) -> ScriptRunner:
    """Return what runs scripts with the host's programs, a sysroot's own first on PATH."""

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
    """Return the paths of a sysroot's scripts, by name."""
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
    """Run a sysroot's scripts in a directory that holds private, sealed copies; return what they
    changed.

    Raises SysrootError, naming package and script, when one fails.
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
                hint="correct the script in the package that brings it, then run the same again",
            )
    changes = {change.path: change for change in differences(writer, directory, pair)}
    return {
        path: None if change.what == "gone" else _node(writer, directory, path)
        for path, change in changes.items()
    }


def _node(writer: ObjectWriter, directory: Path, path: bytes) -> FileNode:
    """Record what a script left at a path; of a folder, with all that is in it."""
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
        f"{os.fsdecode(full)}: a postinst script left what is no file, folder or link"
    )
