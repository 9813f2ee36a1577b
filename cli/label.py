"""`prov label` and `prov pin`."""

from __future__ import annotations

from typing import Annotated

import typer

from .context import StoreOption, open_store
from .output import say, time_text

Build = Annotated[
    str, typer.Argument(metavar="[BUILD]", help="latest (the default), latest~2, a label, an id.")
]


def label(
    name: Annotated[
        str, typer.Argument(metavar="[LABEL]", help="The label; without one, labels are listed.")
    ] = "",
    build: Build = "latest",
    remove: Annotated[bool, typer.Option("--remove", help="Take the label away.")] = False,
    store: StoreOption = None,
) -> None:
    """Give a build a name, which keeps it, too.

    Example: prov label release-1.0
    """
    from prov.history.builds import find_build, labels_of, remove_label, set_label

    opened = open_store(store)
    if not name:
        for commit, names in labels_of(opened).items():
            when = time_text(opened.objects.commit(commit).author.seconds)
            for each in names:
                say(f"{each}  {commit.hex()[:12]}  {when}")
    elif remove:
        remove_label(opened, name)
    else:
        found = find_build(opened, build)
        before = set_label(opened, name, found)
        was = f", which was {before.hex()[:12]}" if before else ""
        say(f"{name} is build {found.commit.hex()[:12]}{was}")


def pin(
    build: Build = "latest",
    remove: Annotated[bool, typer.Option("--remove", help="Keep it no longer.")] = False,
    store: StoreOption = None,
) -> None:
    """Keep a build for good: what it is made of is never collected.

    Example: prov pin latest~3
    """
    from prov.history.builds import find_build, set_pin

    opened = open_store(store)
    found = find_build(opened, build)
    set_pin(opened, found, keep=not remove)
    say(f"build {found.commit.hex()[:12]} is {'no longer ' if remove else ''}kept for good")
