"""`prov log`."""

from __future__ import annotations

from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store
from .output import say, say_json, time_text


def log(
    name: Annotated[str, typer.Argument(metavar="[RECIPE[:TASK]]", help="Whose runs; all by default.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")] = 50,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List recorded runs, newest first, with the tags to give to git.

    Example: prov log zlib:compile
    """
    from prov.errors import NameUnknown, nearest
    from prov.history.names import runs

    opened = open_store(store)
    recipe, _, task = name.partition(":")
    found = runs(opened, recipe, task)
    if name and not found:
        raise NameUnknown(f"no run of {name} is recorded", hint=nearest(name, {run.key for run in runs(opened)}))
    if json:
        fields = ("tag", "recipe", "task", "task_hash", "number", "failed", "seconds")
        say_json("log", runs=[{field: getattr(run, field) for field in fields} for run in found[:limit]])
        return
    for run in found[:limit]:
        say(f"{time_text(run.seconds)}  {run.key}{'  FAILED' if run.failed else ''}  {run.tag}")
