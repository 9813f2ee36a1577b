"""`prov pin`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.history import builds
from prov.records import labels

from .context import BuildArgument, StoreOption, open_store
from .output import say, short_id


def command(
    build: BuildArgument = "latest",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the pin.")] = False,
    store: StoreOption = None,
) -> None:
    """Keep a build permanently.

    `prov gc` never deletes the outputs of a pinned build.

    Example:

        prov pin latest~3
    """
    opened = open_store(store)
    pinned = builds.find_build(opened, build)
    labels.set_pin(opened, pinned, keep=not remove)
    state = "no longer pinned" if remove else "pinned"
    say(f"build {short_id(pinned.commit)} is {state}")
