"""`prov reproduce`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.replay import reproduce

from .build import Sandbox
from .context import JsonOption, StoreOption, open_store, plain_name
from .output import note, remark
from .repetitions import print_repetitions
from .scratch import open_scratch


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="A recipe's tasks, or one and those before.",
            callback=plain_name,
        ),
    ],
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Build from recorded inputs again, in another directory and file order, and tell which outputs
    are different.

    Nothing of it is recorded. Exit 1 if any is. Example: prov reproduce zlib
    """
    opened = open_store(store)
    repetitions = []
    with (
        open_scratch(opened, sandbox) as scratch,
        reproduce.other_order(scratch.folder / "work") as text,
    ):
        if text:
            remark(text)
        for repetition in reproduce.reproduce(opened, name, scratch):
            repetitions.append(repetition)
            outcome = "same" if repetition.same else repetition.problem or "different"
            note(f"{repetition.key}: {outcome}")
    print_repetitions(repetitions, json=json)
