"""`prov run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.store import repository
from prov.tasks import wrap

from .capture import AsOption
from .context import StoreOption, exclude_here, store_path
from .output import note, pass_on


def command(
    name: AsOption,
    argv: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="What to run.")],
    directory: Annotated[
        Path, typer.Option("-C", metavar="DIR", help="The directory to run it in and to commit.")
    ] = Path(),
    store: StoreOption = None,
) -> None:
    """Run any command in a directory and commit what it changed. Exits as the command does.

    Paths that `exclude` in prov.toml names are left out, and so is version control's data (.git,
    .hg, .svn, .jj).

    Example: prov run -C src --as app:compile -- make -j4
    """
    opened = repository.Store.create(store_path(store))
    environment = dict(os.environ)
    run = wrap.run_as(opened, directory, name, argv, environment, pass_on, exclude_here())
    note(f"prov: {run.tag}")
    raise typer.Exit(run.code)
