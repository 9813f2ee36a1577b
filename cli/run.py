"""`prov run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.wrapped import run

from .capture import AsOption, GitignoreOption, LabelOption, OutputOption, join_packs, named_step
from .context import StoreOption, create_store
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
    build: LabelOption = "",
    outputs: OutputOption = None,
    gitignore: GitignoreOption = False,
    store: StoreOption = None,
) -> None:
    """Run a command and record the files it changes.

    prov commits and tags the directory before and after the command, and exits with the command's
    exit status. It leaves out version control data (.git, .hg, .svn, .jj) and the paths that
    `exclude` in prov.toml lists. Runs with the same --build form one build.

    Examples:

        prov run -C src --as app:compile -- make -j4
        prov run --build ci-42 --output image --as app:install -- ./install.sh image
    """
    opened = create_store(store)
    step = named_step(name, build, outputs, gitignore=gitignore)
    with shown_progress():
        ran = run.run_as(opened, directory, step, argv, dict(os.environ), pass_on)
    note(f"prov: {ran.tag}")
    if ran.problem:
        note(f"prov: {ran.problem}")
    join_packs(opened)
    raise typer.Exit(ran.code)
