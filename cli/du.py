"""`prov du`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from prov.text import count_text, size_text
from prov.upkeep import usage

from .context import JsonOption, StoreOption, open_store
from .output import say, say_json


def command(
    by: Annotated[
        Literal["recipe", "task", "kind", "part", "build"],
        typer.Option("--by", help="Group sizes by this."),
    ] = "recipe",
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show what takes up space in a store.

    Each recipe, task, kind, part or build is listed with the bytes that only it needs; a further
    line has the shared bytes. By kind, you see what deleting WORKDIRs would free; by part, also
    what each entry of the records takes, such as logs. By build, each object counts for the first
    build that has it.

    Example:

        prov du --by kind
    """
    rows = usage.usage(open_store(store), by)
    if json:
        say_json("du", by=by, rows=[_table(row) for row in rows])
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        objects = count_text(row.objects, "object")
        say(f"{row.name:{width}}  {size_text(row.size):>10}  {objects:>16}")
    total = sum(row.size for row in rows)
    say(f"{'all':{width}}  {size_text(total):>10}")


def _table(row: usage.Usage) -> dict[str, Any]:
    return {"name": row.name, "objects": row.objects, "bytes": row.size}
