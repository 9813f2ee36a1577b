"""`prov init`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.recipes import project
from prov.store import repository

from .context import StoreOption, store_path
from .output import say

PROJECT = """\
# Where prov looks for recipes, and settings for all of them; see the recipe reference.
recipes = ["recipes"]
"""


def command(
    directory: Annotated[
        Path | None, typer.Argument(help="The project's folder; the current one by default.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Make a store, and a prov.toml where there is none.

    Example: prov init
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        os.chdir(directory)
    here = Path.cwd()
    if not (here / project.PROJECT_FILE).exists():
        (here / project.PROJECT_FILE).write_text(PROJECT)
        say(f"wrote {here / project.PROJECT_FILE}")
    path = store_path(store)
    repository.Store.create(path)
    say(f"the store is {path}")
