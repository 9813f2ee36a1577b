"""`prov check`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store, plain_name
from .output import say, say_json


def check(
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
    from prov.history.paths import named_places

    found = named_places(open_store(store), name)
    if json:
        say_json("check", files=[asdict(each) for each in found])
    else:
        for each in found:
            what = (
                "holds a path that can't be replaced"
                if each.held
                else f"{each.kind}, {', '.join(each.places)}"
            )
            say(f"{each.task}  {os.fsdecode(each.path)}  {what}")
        held = sum(each.held for each in found)
        names = "1 file names its" if len(found) == 1 else f"{len(found)} files name their"
        say(f"{names} place; {held} of them can't be used elsewhere")
    if any(each.held for each in found):
        raise typer.Exit(1)
