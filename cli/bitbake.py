"""`prov bitbake`: set up the layer, and restore WORKDIRs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from prov.bitbake import restore as bitbake_restore
from prov.bitbake import session as bitbake_session
from prov.bitbake import setup as bitbake_setup
from prov.bitbake import tmpdir as tmpdirs
from prov.text import count_text

from .context import StoreOption, open_store, plain_name
from .help import CommandGroup
from .output import note, note_all, say

group = CommandGroup(
    """Record BitBake builds through a layer.

    Example:

        prov bitbake setup build
    """
)


@group.command("layer")
def layer() -> None:
    """Print the path of the layer.

    To add the layer yourself, also add `INHERIT += "prov"` to conf/local.conf.

    Example:

        bitbake-layers add-layer $(prov bitbake layer)
    """
    say(str(bitbake_setup.layer()))


@group.command("setup")
def setup(
    builddir: Annotated[
        Path, typer.Argument(metavar="BUILDDIR", help="Build directory, which contains conf/.")
    ],
    undo: Annotated[
        bool, typer.Option("--undo", help="Remove the lines that `setup` added.")
    ] = False,
) -> None:
    """Add the layer to a build directory.

    Adds a line to conf/bblayers.conf and two lines to conf/local.conf. Fails without changing a
    file if the build directory uses a release of BitBake or OpenEmbedded that is not supported.

    Example:

        prov bitbake setup build
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
        note("already set up")


def _undo_setup(builddir: Path) -> None:
    changed = bitbake_setup.undo(builddir)
    for name in changed:
        say(f"{builddir / name}: removed the lines of `prov bitbake setup`")
    if not changed:
        note("not set up")


@group.command("restore")
def restore(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="Recipe, task (its newest run), or tag of a run.",
            callback=plain_name,
        ),
    ],
    tmpdir: Annotated[
        list[Path] | None,
        typer.Option(
            "--tmpdir",
            metavar="DIR",
            help="Also allow paths in this TMPDIR; can be repeated.",
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Restore a recipe's WORKDIR and stamps after a task.

    BitBake continues from there. Without a task, uses the last recorded task of do_unpack,
    do_patch, do_configure and do_compile. The current content of WORKDIR is recorded first.

    Run the command in the build directory: a WORKDIR outside its TMPDIR is rejected.

    Example:

        prov bitbake restore zlib:do_patch
    """
    opened = open_store(store)
    run = bitbake_restore.choose(opened, name)
    allowed = tmpdirs.TmpDirs.of(Path.cwd(), tmpdir or ())
    restored = bitbake_restore.restore(opened, run, allowed)
    note_all(restored.notes)
    files = count_text(restored.placed, "file")
    say(f"{restored.workdir}: restored {restored.run.tag}, {files} written")
    say(f"stamps: {' '.join(restored.stamps)}")


@group.command("writer", hidden=True)
def writer(store: Path, socket: Path) -> None:
    """Record a build. BitBake's server starts this command."""
    bitbake_session.run(store.absolute(), socket.absolute(), (0, 1), dict(os.environ))
