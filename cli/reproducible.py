"""`prov reproducible`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.replay import differing_outputs
from prov.text import count_text

from .context import JsonOption, StoreOption, open_store
from .output import note_all, say, say_json, short_id
from .sharing import Remotes, selected_remotes, user_access


def command(
    remotes: Remotes = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Go by what is known of the remotes.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List tasks that gave different outputs for the same inputs, here or on machines that share a
    remote.

    What was published first is what is used; the others are kept beside it. Exit status 1 if there
    are any. Example: prov reproducible
    """
    opened = open_store(store)
    chosen = selected_remotes(opened, remotes) if remotes else None
    differing = differing_outputs.differing_tasks(opened, chosen, user_access(), ask=not offline)
    note_all(differing.notes)
    if json:
        _print_json(differing.tasks)
    else:
        _print(differing.tasks)
    if differing.tasks:
        raise typer.Exit(1)


def _print_json(tasks: list[differing_outputs.Differing]) -> None:
    rows = [
        {
            "task": task.key,
            "task_hash": task.task_hash.hex(),
            "outputs": [output.hex() for output in task.outputs],
            "first": task.where[0],
            "differences": task.lines,
        }
        for task in tasks
    ]
    say_json("reproducible", tasks=rows)


def _print(tasks: list[differing_outputs.Differing]) -> None:
    for task in tasks:
        say(f"{task.key} {short_id(task.task_hash)}: {count_text(len(task.outputs), 'output')}")
        for output, where in zip(task.outputs, task.where, strict=True):
            say(f"  {short_id(output)}  {where}")
        for line in task.lines:
            say(f"    {line}")
    if not tasks:
        say("no task is known to have given different outputs for the same inputs")
