"""`prov init`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.recipes import PROJECT_FILE
from prov.store import repository

from .context import StoreOption, hide_store, store_path
from .output import say

PROJECT = """\
# The folders with recipes, and settings for all recipes. See docs/recipes.md in prov's repository.
recipes = ["recipes"]
"""


def command(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The project folder. Default: the current folder."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Create a store, and prov.toml if it is missing.

    In a git work tree, prov adds the store to .git/info/exclude, so that git ignores it.

    Examples:

        prov init
        prov init ~/projects/image
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        os.chdir(directory)
    here = Path.cwd()
    if not (here / PROJECT_FILE).exists():
        (here / PROJECT_FILE).write_text(PROJECT)
        say(f"created {here / PROJECT_FILE}")
    path = store_path(store)
    repository.Store.create(path)
    say(f"the store is {path}")
    hide_store(path)
