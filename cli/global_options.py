"""Options that work before and after the command: `-C DIR` and `--no-pager`.

`--store` also works in both places; commands that use a store list it in their own help.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from . import pager


def change_directory(folder: Path | None) -> None:
    """Change the current folder. Raises BadParameter."""
    if folder is None:
        return
    try:
        os.chdir(folder)
    except OSError as error:
        raise typer.BadParameter(f"{folder}: {error.strerror}") from error


def disable_pager(requested: bool) -> None:
    """Disable the pager for this command, if requested."""
    if requested:
        pager.disable()


def add_global_options(command: Any) -> None:
    """Add the options to a command, or to all commands of a group; their help does not list them.

    `prov run` keeps its own `-C`.
    """
    subcommands = getattr(command, "commands", None)
    if subcommands is not None:
        for subcommand in subcommands.values():
            add_global_options(subcommand)
        return
    names = {name for param in command.params for name in param.opts}
    command.params += [option for option in _options() if names.isdisjoint(option.opts)]


def _options() -> list[TyperOption]:
    return [
        TyperOption(
            param_decls=["change_directory", "-C"],
            type=str,
            callback=lambda ctx, param, folder: change_directory(folder),
            expose_value=False,
            is_eager=True,
            hidden=True,
        ),
        TyperOption(
            param_decls=["disable_pager", "--no-pager"],
            is_flag=True,
            type=bool,
            default=False,
            callback=lambda ctx, param, requested: disable_pager(requested),
            expose_value=False,
            hidden=True,
        ),
    ]
