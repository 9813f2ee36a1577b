"""`prov init`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.recipes import PROJECT_FILE
from prov.store import git, repository

from .context import StoreOption, store_path
from .output import remark, say

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
    command = [git.git_program(), "-C", str(path.parent), "check-ignore", "-q", path.name]
    if git.call_git(command).returncode == 1:  # 128: not in a git work tree
        remark(f"git does not ignore {path.name}/: add it and the build directory to .gitignore")
