"""`prov check`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from prov.history import embedded_paths

from .context import JsonOption, StoreOption, open_store, plain_name
from .output import say, say_json


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A recipe, as it was last built.", callback=plain_name
        ),
    ],
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Tell which files of a recipe's outputs name the place where they were made.

    Most are stored with tokens, and get the paths that count wherever they are put; exit 1 if one
    can't be. Example: prov check ncurses
    """
    named = embedded_paths.embedded_paths(open_store(store), name)
    held = sum(file.held for file in named)
    if json:
        say_json("check", files=[asdict(file) for file in named])
    else:
        for file in named:
            say(f"{file.task}  {os.fsdecode(file.path)}  {_description(file)}")
        names = "1 file names its" if len(named) == 1 else f"{len(named)} files name their"
        say(f"{names} place; {held} of them can't be used elsewhere")
    if held:
        raise typer.Exit(1)


def _description(file: embedded_paths.EmbeddedPath) -> str:
    if file.held:
        return "holds a path that can't be replaced"
    return f"{file.kind}, {', '.join(file.places)}"
