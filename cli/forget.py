"""`prov forget`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .output import count_text, say, say_json


def forget(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE:TASK…]", help="Runs, by task or tag: WORKDIR, log, record.", callback=plain_name
        ),
    ] = None,
    containing: Annotated[
        str, typer.Option("--containing", metavar="TEXT", help="All files with this text; - reads it from stdin.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would go.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Take something out of the store for good, and out of the remotes: a secret in a log, say.

    What holds it goes, too: tasks then run again. Where it can't be taken out is told, with exit status 1.
    Example: prov forget --containing - < secret.txt
    """
    from prov.history.forget import forget as forget_objects
    from prov.history.forget import plan_forget, targets_of
    from prov.remote.transport import Access

    opened = open_store(store)
    text = sys.stdin.buffer.read().rstrip(b"\r\n") if containing == "-" else containing.encode()
    if not names and not text:
        raise typer.BadParameter("name a run, or give --containing TEXT")
    targets = targets_of(opened, names or [], text)
    if dry_run:
        for gone in plan_forget(opened, targets):
            say(f"{gone.ref} would go{', its record would stay' if gone.record else ''}")
        return
    done = forget_objects(opened, targets, work_here(), Access(dict(os.environ), interactive=True))
    if json:
        say_json(
            "forget",
            refs=[each.ref for each in done.refs],
            objects=done.swept.objects,
            workdirs=[str(path) for path in done.workdirs],
            pool_files=done.pool_files,
            remotes=done.remotes,
            left=done.left,
        )
    else:
        say(f"{count_text(len(done.refs), 'ref')} and {count_text(done.swept.objects, 'object')} gone")
        for path in done.workdirs:
            say(f"removed {path}")
        for name, count in done.remotes.items():
            say(f"{name}: {count_text(count, 'result')} gone")
        for line in done.left:
            say(f"still there: {line}")
    if done.left:
        raise typer.Exit(1)
