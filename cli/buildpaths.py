"""`prov buildpaths`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from prov.history import embedded_paths
from prov.text import count_text

from .context import JsonOption, StoreOption, open_store, plain_name
from .output import say, say_json


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A recipe: its last outputs are searched.", callback=plain_name
        ),
    ],
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List output files that embed build paths.

    prov stores most of these paths as tokens and writes the right path at each checkout. The exit
    status is 1 if a file is not relocatable.

    Example:

        prov buildpaths ncurses
    """
    files = embedded_paths.embedded_paths(open_store(store), name)
    held = sum(file.held for file in files)
    if json:
        say_json("buildpaths", files=[asdict(file) for file in files])
    else:
        for file in files:
            say(f"{file.task}  {os.fsdecode(file.path)}  {_description(file)}")
        say(f"{count_text(len(files), 'file')} with build paths; {held} not relocatable")
    if held:
        raise typer.Exit(1)


def _description(file: embedded_paths.EmbeddedPath) -> str:
    if file.held:
        return "not relocatable"
    return f"{file.kind}, {', '.join(file.places)}"
