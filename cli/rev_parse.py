"""`prov rev-parse`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.errors import NameUnknown
from prov.history import builds, directories, names
from prov.store import repository

from .context import StoreOption, open_store, plain_name
from .output import say


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A run, a part of a run such as zlib:install@output, or a build.",
            callback=plain_name,
        ),
    ],
    tag: Annotated[
        bool, typer.Option("--tag", help="Print a run's tag instead of its id.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Print the id of a run, an output or a build.

    For a run or a build, the id is its commit; for a part of a run, its tree. git understands both
    in the store.

    Examples:

        prov rev-parse zlib:compile~1
        prov rev-parse zlib:compile@{release-1.0}
        git --git-dir=.prov show $(prov rev-parse --tag zlib:compile)
    """
    opened = open_store(store)
    say(names.find_run(opened, name).tag if tag else _id(opened, name).hex())


def _id(store: repository.Store, name: str) -> bytes:
    if "@" in name:
        return directories.find_directory(store, name).pair.tree
    if ":" in name:
        return names.find_run(store, name).commit
    try:
        return builds.find_build(store, name).commit
    except NameUnknown:
        directory = directories.find_directory(store, name)
        return directory.commit or directory.pair.tree
