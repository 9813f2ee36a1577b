"""`prov bitbake`: the layer for BitBake's builds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from prov.bitbake import restore as bitbake_restore
from prov.bitbake import setup as bitbake_setup
from prov.bitbake import tmpdir as tmpdirs
from prov.bitbake import writer as bitbake_writer
from prov.text import count_text

from .context import StoreOption, open_store, plain_name
from .help import Commands
from .output import note, note_all, say

group = Commands(
    """Record BitBake builds through a layer.

    Example:

        prov bitbake setup build
    """
)


@group.command("layer")
def layer() -> None:
    """Print the layer's folder. Example: bitbake-layers add-layer $(prov bitbake layer)"""
    say(str(bitbake_setup.layer()))


@group.command("setup")
def setup(
    builddir: Annotated[
        Path, typer.Argument(metavar="BUILDDIR", help="The build directory, with conf/ in it.")
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Take out what it added.")] = False,
) -> None:
    """Add the layer to a build directory, and the line that switches it on.

    Example: prov bitbake setup build
    """
    if undo:
        _undo_setup(builddir)
        return
    changed = bitbake_setup.set_up(builddir, shutil.which("bitbake"))
    for name in changed:
        say(f"{builddir / name}: added")
        for line in bitbake_setup.blocks()[name].splitlines():
            if line and not line.startswith("#"):
                say(f"  {line}")
    if not changed:
        note("nothing to add")


def _undo_setup(builddir: Path) -> None:
    changed = bitbake_setup.undo(builddir)
    for name in changed:
        say(f"{builddir / name}: taken out")
    if not changed:
        note("nothing to take out")


@group.command("restore")
def restore(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="A task, its newest run; or a run's tag.",
            callback=plain_name,
        ),
    ],
    tmpdir: Annotated[
        list[Path] | None,
        typer.Option(
            "--tmpdir",
            metavar="DIR",
            help="A TMPDIR of yours that the build directory does not name.",
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Put a recipe's WORKDIR back as it was after a task, and let BitBake's stamps say so.

    BitBake goes on from there. Without a task: after the last of unpack, patch, configure and
    compile that is recorded. What is in the WORKDIR now is recorded before. Run it in the build
    directory: a WORKDIR outside its TMPDIR is refused. Example: prov bitbake restore zlib:do_patch
    """
    opened = open_store(store)
    run = bitbake_restore.choose(opened, name)
    allowed = tmpdirs.TmpDirs.of(Path.cwd(), tmpdir or ())
    restored = bitbake_restore.restore(opened, run, allowed)
    note_all(restored.notes)
    files = count_text(restored.placed, "file")
    say(f"{restored.workdir}: as after {restored.run.tag}; {files} placed")
    say(f"stamps: {' '.join(restored.stamps)}")


@group.command("writer", hidden=True)
def writer(store: Path, socket: Path) -> None:
    """Record a build: BitBake's server starts this."""
    bitbake_writer.run(store.absolute(), socket.absolute(), (0, 1), dict(os.environ))
