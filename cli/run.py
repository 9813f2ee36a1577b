"""`prov run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.store import repository
from prov.tasks import wrap

from .capture import AsOption, join_packs
from .context import StoreOption, exclude_here, store_path
from .output import note, pass_on
from .progress import shown_progress


def command(
    name: AsOption,
    argv: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="The command to run.")],
    directory: Annotated[
        Path,
        typer.Option(
            "-C", metavar="DIR", help="Run in DIR and record it. Default: the current folder."
        ),
    ] = Path(),
    store: StoreOption = None,
) -> None:
    """Run a command and record the files it changes.

    prov commits and tags the directory before and after the command, and exits with the command's
    exit status. It leaves out version control data (.git, .hg, .svn, .jj) and the paths that
    `exclude` in prov.toml lists.

    Example:

        prov run -C src --as app:compile -- make -j4
    """
    opened = repository.Store.create(store_path(store))
    environment = dict(os.environ)
    with shown_progress():
        run = wrap.run_as(opened, directory, name, argv, environment, pass_on, exclude_here())
    note(f"prov: {run.tag}")
    join_packs(opened)
    raise typer.Exit(run.code)
