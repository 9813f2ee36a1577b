"""`prov label`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.history import builds
from prov.records import labels
from prov.store import repository

from .context import BuildArgument, StoreOption, open_store
from .output import say, short_id, time_text


def command(
    name: Annotated[
        str, typer.Argument(metavar="LABEL", help="The label. Without one, prov lists all labels.")
    ] = "",
    build: BuildArgument = "latest",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the label.")] = False,
    store: StoreOption = None,
) -> None:
    """Name a build, and keep it.

    `prov gc` keeps the outputs of labelled builds.

    Examples:

        prov label release-1.0
        prov label release-1.0 latest~2
    """
    opened = open_store(store)
    if not name:
        _list(opened)
    elif remove:
        labels.remove_label(opened, name)
    else:
        labelled = builds.find_build(opened, build)
        before = labels.set_label(opened, name, labelled)
        was = f" (was {short_id(before)})" if before else ""
        say(f"{name} is build {short_id(labelled.commit)}{was}")


def _list(store: repository.Store) -> None:
    for commit, names in labels.labels_of(store).items():
        when = time_text(store.objects.commit(commit).author.seconds)
        for label in names:
            say(f"{label}  {short_id(commit)}  {when}")
