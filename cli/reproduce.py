"""`prov reproduce`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.replay import differing_outputs, reproduce
from prov.store import repository
from prov.text import count_text

from .build import Sandbox
from .context import JsonOption, StoreOption, open_store, plain_name
from .output import note, note_all, remark, say, say_json, short_id
from .progress import shown_progress
from .repetitions import print_repetitions
from .scratch import open_scratch
from .sharing import Remotes, selected_remotes, user_access


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="Rebuild all tasks of a recipe, or those up to TASK.",
            callback=plain_name,
        ),
    ] = "",
    recorded: Annotated[
        bool, typer.Option("--recorded", help="List recorded differences; build nothing.")
    ] = False,
    remotes: Remotes = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="With --recorded, contact no remote.")
    ] = False,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Check that recorded tasks build reproducibly.

    prov rebuilds them from their recorded inputs, in another directory and file order, and compares
    the outputs. Nothing is recorded. With --recorded, prov lists tasks that produced different
    outputs from identical inputs before, here or on machines that share a remote. The exit status
    is 1 if outputs differ.

    Examples:

        prov reproduce zlib
        prov reproduce --recorded
    """
    if recorded == bool(name):
        raise typer.BadParameter("pass either RECIPE[:TASK] or --recorded")
    opened = open_store(store)
    if recorded:
        _list_recorded(opened, remotes, ask=not offline, json=json)
        return
    repetitions = []
    with (
        open_scratch(opened, sandbox) as scratch,
        reproduce.other_order(scratch.folder / "work") as text,
        shown_progress(),
    ):
        if text:
            remark(text)
        for repetition in reproduce.reproduce(opened, name, scratch):
            repetitions.append(repetition)
            outcome = "identical" if repetition.same else repetition.problem or "different"
            note(f"{repetition.key}: {outcome}")
    print_repetitions(repetitions, json=json)


def _list_recorded(
    store: repository.Store, remotes: list[str] | None, *, ask: bool, json: bool
) -> None:
    """Print the tasks with several outputs. Raises Exit(1) if there are any."""
    chosen = selected_remotes(store, remotes) if remotes else None
    differing = differing_outputs.differing_tasks(store, chosen, user_access(), ask=ask)
    note_all(differing.notes)
    if json:
        rows = [
            {
                "task": task.key,
                "task_hash": task.task_hash.hex(),
                "outputs": [
                    {"output": output.hex(), "where": where}
                    for output, where in zip(task.outputs, task.where, strict=True)
                ],
                "diff": task.lines,
            }
            for task in differing.tasks
        ]
        say_json("recorded-differences", tasks=rows)
    else:
        _print(differing.tasks)
    if differing.tasks:
        raise typer.Exit(1)


def _print(tasks: list[differing_outputs.Differing]) -> None:
    for task in tasks:
        say(f"{task.key} {short_id(task.task_hash)}: {count_text(len(task.outputs), 'output')}")
        for output, where in zip(task.outputs, task.where, strict=True):
            say(f"  {short_id(output)}  {where}")
        for line in task.lines:
            say(f"    {line}")
    if not tasks:
        say("no task is recorded with different outputs from identical inputs")
