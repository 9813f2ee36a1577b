"""`prov du`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from .context import JsonOption, StoreOption, open_store
from .output import count_text, say, say_json


def du(
    by: Annotated[
        Literal["recipe", "task", "kind", "build"], typer.Option("--by", help="What to add up by.")
    ] = "recipe",
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show where the bytes of a store are: what is each recipe's own, and what is shared.

    By kind it tells what dropping WORKDIRs would free; by build, in which one bytes first came up.
    Example: prov du --by kind
    """
    from prov.history.usage import usage
    from prov.text import size_text

    opened = open_store(store)
    rows = usage(opened, by)
    if json:
        say_json("du", by=by, rows=[asdict(row) for row in rows])
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        say(
            f"{row.name:{width}}  {size_text(row.size):>10} "
            f" {count_text(row.objects, 'object'):>16}"
        )
    say(f"{'all':{width}}  {size_text(sum(row.size for row in rows)):>10}")
