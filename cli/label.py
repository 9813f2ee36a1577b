"""`prov label`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.history import builds
from prov.records import labels
from prov.store import repository

from .context import BuildArgument, JsonOption, StoreOption, open_store
from .output import say, say_json, short_id, time_text


def command(
    name: Annotated[
        str, typer.Argument(metavar="LABEL", help="The label. Without one, prov lists all labels.")
    ] = "",
    build: BuildArgument = "latest",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the label.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Name a build, and keep it.

    `prov gc` keeps the outputs of labelled builds.

    Examples:

        prov label release-1.0
        prov label release-1.0 latest~2
    """
    if json and name:
        raise typer.BadParameter("--json is for the list of labels")
    opened = open_store(store)
    if not name:
        _list(opened, json=json)
    elif remove:
        labels.remove_label(opened, name)
    else:
        labelled = builds.find_build(opened, build)
        before = labels.set_label(opened, name, labelled)
        was = f" (was {short_id(before)})" if before else ""
        say(f"{name} is build {short_id(labelled.commit)}{was}")


def _list(store: repository.Store, *, json: bool) -> None:
    rows = [
        (label, commit, store.objects.commit(commit).author.seconds)
        for commit, names in labels.labels_of(store).items()
        for label in names
    ]
    if json:
        say_json(
            "labels",
            labels=[
                {"label": label, "build": commit.hex(), "time": began}
                for label, commit, began in rows
            ],
        )
        return
    for label, commit, began in rows:
        say(f"{label}  {short_id(commit)}  {time_text(began)}")
