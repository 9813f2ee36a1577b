"""`prov forget`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .output import count_text, note, say, say_json

if TYPE_CHECKING:
    from prov.forget.plan import Plan


def forget(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE:TASK…]",
            help="Runs, by task or tag: WORKDIR, log, record.",
            callback=plain_name,
        ),
    ] = None,
    containing: Annotated[
        str,
        typer.Option(
            "--containing",
            metavar="TEXT",
            help="Everything with this text, or those runs that have it; - reads stdin.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only list what would go.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; without a terminal, prov never asks.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Remove runs or a text from the store and remotes.

    With RECIPE:TASK, its newest run goes. With --containing, everything that holds the text goes,
    and tasks run again. With both, only runs of the named tasks that hold the text go. Later runs
    of the same directory stay. On a terminal, prov lists what would go and asks. It lists where the
    text may still be as `still there`, with exit status 1.

    Example: prov forget --containing - < secret.txt
    """
    from prov.forget.plan import forget as forget_objects
    from prov.forget.plan import plan_forget, targets_of
    from prov.forget.remotes import forget_at
    from prov.remote.settings import read_remotes
    from prov.transport.access import Access

    opened = open_store(store)
    text = sys.stdin.buffer.read().rstrip(b"\r\n") if containing == "-" else os.fsencode(containing)
    if not names and not text:
        raise typer.BadParameter("name a run, or give --containing TEXT")
    wanted = targets_of(opened, names or [], text)
    access = Access(dict(os.environ), interactive=True)
    plan = plan_forget(opened, wanted)
    remotes = read_remotes(opened)
    if dry_run:
        left: list[str] = []
        _list(plan)
        for remote in remotes:
            count = forget_at(opened, remote, wanted, access, left, dry_run=True)
            say(f"{remote.name}: {count_text(count, 'result')} would go")
        for line in left:
            say(f"would still be there: {line}")
        return
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        _list(plan)
        for remote in remotes:
            say(f"{remote.name}: results that hold it would go")
        typer.confirm("Remove it for good?", abort=True)
    done = forget_objects(opened, wanted, work_here(), access, plan=plan)
    if json:
        say_json(
            "forget",
            refs=[each.ref for each in done.refs],
            moved=[each.ref for each in done.moved],
            objects=done.swept.objects,
            workdirs=[str(path) for path in done.workdirs],
            pool_files=done.pool_files,
            remotes=done.remotes,
            left=done.left,
        )
    else:
        say(
            f"{count_text(len(done.refs), 'ref')} and {count_text(done.swept.objects, 'object')}"
            " gone"
        )
        if done.moved:
            say(f"{count_text(len(done.moved), 'ref')} moved to a history without it")
        for path in done.workdirs:
            say(f"removed {path}")
        for name, count in done.remotes.items():
            say(f"{name}: {count_text(count, 'result')} gone")
        for line in done.left:
            say(f"still there: {line}")
    if remotes:
        note(
            "note: machines that fetched it, and copies of exported folders, are not searched: run"
            " the same there"
        )
    if done.left:
        raise typer.Exit(1)


def _list(plan: Plan) -> None:
    for gone in plan.gone:
        say(f"{gone.ref} would go{', its record would stay' if gone.record else ''}")
    for moved in plan.moved:
        say(f"{moved.ref} would stay, with a history without it")
