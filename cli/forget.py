"""`prov forget`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from prov.forget import plan as plans
from prov.forget import remotes as forget_remotes
from prov.remote import settings
from prov.store import repository
from prov.text import count_text

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .output import note, say, say_json
from .sharing import user_access


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE:TASK...]",
            help="Runs, by task or tag: their WORKDIR, log and record.",
            callback=plain_name,
        ),
    ] = None,
    containing: Annotated[
        str,
        typer.Option(
            "--containing",
            metavar="TEXT",
            help="Remove everything that contains TEXT; - reads TEXT from standard input.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="List what would be removed; remove nothing.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Remove without asking. prov asks only on a terminal."),
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Remove runs or a text from the store and remotes.

    With RECIPE:TASK, prov removes its latest run. With --containing, it removes everything that
    contains the text, and the affected tasks run again. With both, it removes only runs of the
    named tasks that contain the text. Later runs of the same directory stay. On a terminal, prov
    lists what it would remove and asks. If copies of the text may remain, prov lists them with
    `remains` and exits with status 1.

    Example:

        prov forget --containing - < secret.txt
    """
    opened = open_store(store)
    text = _text(containing)
    if not names and not text:
        raise typer.BadParameter("name a run, or pass --containing TEXT")
    targets = plans.targets_of(opened, names or [], text)
    access = user_access()
    plan = plans.plan_forget(opened, targets)
    remotes = settings.read_remotes(opened)
    if dry_run:
        _show_plan(opened, plan, targets, remotes, json=json)
        return
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        _confirm(plan, remotes)
    forgotten = plans.forget(opened, targets, work_here(), access, plan=plan)
    if json:
        _print_json(forgotten, dry_run=False)
    else:
        _print(forgotten)
    if remotes:
        note(
            "note: prov did not search machines that fetched it or copies of exported folders: run"
            " the same command there"
        )
    if forgotten.left:
        raise typer.Exit(1)


def _text(option: str) -> bytes:
    """Return the text of --containing; from standard input, without its last newline."""
    if option == "-":
        return sys.stdin.buffer.read().rstrip(b"\r\n")
    return os.fsencode(option)


def _show_plan(
    store: repository.Store,
    plan: plans.ForgetPlan,
    targets: forget_remotes.Targets,
    remotes: list[settings.Remote],
    *,
    json: bool,
) -> None:
    left: list[str] = []
    counts = {
        remote.name: forget_remotes.forget_at(
            store, remote, targets, user_access(), left, dry_run=True
        )
        for remote in remotes
    }
    if json:
        planned = plans.Forgotten(list(plan.deletions), list(plan.moves), remotes=counts, left=left)
        _print_json(planned, dry_run=True)
        return
    _print_plan(plan)
    for name, count in counts.items():
        say(f"{name}: {count_text(count, 'result')} would be removed")
    for line in left:
        say(f"would remain: {line}")


def _confirm(plan: plans.ForgetPlan, remotes: list[settings.Remote]) -> None:
    """List what would be removed, and ask. Raises Abort if the user declines."""
    _print_plan(plan)
    for remote in remotes:
        say(f"{remote.name}: results that contain it would be removed")
    typer.confirm("Remove it permanently?", abort=True)


def _print_plan(plan: plans.ForgetPlan) -> None:
    for deleted in plan.deletions:
        record = " (its record would stay)" if deleted.record else ""
        say(f"{deleted.ref} would be removed{record}")
    for moved in plan.moves:
        say(f"{moved.ref} would be rewritten without it")


def _print_json(forgotten: plans.Forgotten, *, dry_run: bool) -> None:
    say_json(
        "forget",
        dry_run=dry_run,
        refs=[deleted.ref for deleted in forgotten.deletions],
        moved=[moved.ref for moved in forgotten.moves],
        objects=forgotten.swept.objects,
        workdirs=[str(path) for path in forgotten.workdirs],
        pool_files=forgotten.pool_files,
        remotes=forgotten.remotes,
        left=forgotten.left,
    )


def _print(forgotten: plans.Forgotten) -> None:
    refs = count_text(len(forgotten.deletions), "ref")
    objects = count_text(forgotten.swept.objects, "object")
    say(f"{refs} and {objects} removed")
    if forgotten.moves:
        say(f"{count_text(len(forgotten.moves), 'ref')} rewritten without it")
    for path in forgotten.workdirs:
        say(f"removed {path}")
    for name, count in forgotten.remotes.items():
        say(f"{name}: {count_text(count, 'result')} removed")
    for line in forgotten.left:
        say(f"remains: {line}")
