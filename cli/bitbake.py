"""`prov bitbake`: the layer for BitBake's builds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from .context import StoreOption, open_store, plain_name
from .output import count_text, note, say

bitbake = typer.Typer(
    name="bitbake",
    help="Attach to a build of OpenEmbedded's: a layer that records every task of it.\n\n"
    "Example: prov bitbake setup build",
    no_args_is_help=True,
)


@bitbake.command("layer")
def layer() -> None:
    """Print the layer's folder. Example: bitbake-layers add-layer $(prov bitbake layer)"""
    from prov.bitbake.setup import layer as folder

    say(str(folder()))


@bitbake.command("setup")
def setup(
    builddir: Annotated[
        Path, typer.Argument(metavar="BUILDDIR", help="The build directory, with conf/ in it.")
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Take out what it added.")] = False,
) -> None:
    """Add the layer to a build directory, and the line that switches it on.

    Example: prov bitbake setup build
    """
    from prov.bitbake.setup import blocks, set_up
    from prov.bitbake.setup import undo as take_out

    changed = take_out(builddir) if undo else set_up(builddir, shutil.which("bitbake"))
    for name in changed:
        say(f"{builddir / name}: {'taken out' if undo else 'added'}")
        for line in [] if undo else blocks()[name].splitlines():
            if line and not line.startswith("#"):
                say(f"  {line}")
    if not changed:
        note(f"nothing to {'take out' if undo else 'add'}")


@bitbake.command("restore")
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
    from prov.bitbake.restore import choose
    from prov.bitbake.restore import restore as put_back
    from prov.bitbake.tmpdir import TmpDirs

    opened = open_store(store)
    done = put_back(opened, choose(opened, name), TmpDirs.of(Path.cwd(), tmpdir or ()))
    for text in done.notes:
        note(f"note: {text}")
    say(f"{done.workdir}: as after {done.run.tag}; {count_text(done.placed, 'file')} placed")
    say(f"stamps: {' '.join(done.stamps)}")


@bitbake.command("writer", hidden=True)
def writer(store: Path, socket: Path) -> None:
    """Record a build: BitBake's server starts this."""
    from prov.bitbake.writer import run

    run(store.absolute(), socket.absolute(), (0, 1), dict(os.environ))
