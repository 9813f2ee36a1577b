"""`prov buildroot`: let Buildroot record its steps, and record failed ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from prov.buildroot import setup as buildroot_setup
from prov.buildroot import step
from prov.store import repository

from .context import STORE_FOLDER, StoreOption, open_store
from .help import CommandGroup
from .output import note, say

group = CommandGroup(
    """Record Buildroot builds, each package step as a run.

    Example:

        prov buildroot setup output
    """
)


@group.command("setup")
def setup(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Build directory: the one that contains .config."),
    ],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what `setup` added. Keeps the store.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail a step that cannot be recorded. Default: warn."),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Record the steps of a build directory from now on.

    Writes a script, .prov-step, and adds lines to local.mk, the package override file, that call it
    before and after each step. Creates the store DIR/.prov, unless --store or $PROV_STORE names a
    store.

    Example:

        prov buildroot setup ~/buildroot
    """
    if remove:
        removed = buildroot_setup.remove(directory)
        for path in removed:
            say(f"{path}: removed what `prov buildroot setup` added")
        if not removed:
            note("not set up")
        return
    buildroot_setup.check_build(directory)
    path = (store or Path(os.environ.get("PROV_STORE") or directory / STORE_FOLDER)).absolute()
    hook = buildroot_setup.Hook(Path(sys.executable), path, strict)
    changed = buildroot_setup.set_up(directory, hook)
    repository.Store.create(path)
    for changed_path in changed:
        say(f"{changed_path}: written")
    if not changed:
        note("already set up")


@group.command("finish")
def finish(store: StoreOption = None) -> None:
    """Record steps that failed or were interrupted.

    Buildroot runs no script after a failed step. The next `make` records such steps first; this
    command records them now. Prints the tags of their runs.

    Example:

        make || prov buildroot finish
    """
    finished = step.finish(open_store(store))
    for run in finished.runs:
        say(run.tag)
    for error in finished.errors:
        note(f"prov: {error}")
    raise typer.Exit(1 if finished.errors else 0)
