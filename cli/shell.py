"""`prov shell`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from prov.bitbake import shell
from prov.history import names
from prov.store import repository
from prov.tasks import recorded
from prov.tasks import sandbox as sandboxes

from .build import Sandbox
from .context import BuildOption, StoreOption, open_store
from .output import note, note_all
from .scratch import TaskName, is_on_host, named_run, open_scratch


def command(
    name: TaskName,
    argv: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND…]", help="Instead of a shell.")
    ] = None,
    before: Annotated[
        bool, typer.Option("--before", help="As it was before the task, not after it.")
    ] = False,
    build: BuildOption = "",
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Put a task's WORKDIR, sysroots and environment back as they were, and open a shell in them.

    Also of a failed task, or of a build months old. What you change is gone at the end.
    temp/run.TASK is the task's script. Exits as the command does. Example: prov shell zlib:compile
    --before
    """
    opened = open_store(store)
    run = named_run(opened, name, build)
    if shell.is_bitbakes(opened, run.commit):
        status = _bitbake_shell(opened, run, argv, sandbox, before=before)
        raise typer.Exit(status)
    with open_scratch(opened, sandbox) as scratch:
        scene = scratch.put_back(recorded.read_task(opened, run.key, run.commit), before=before)
        note_all(scratch.notes)
        if not argv:
            _introduce(run, before=before)
        status = scene.run(argv or scene.shell(), terminal=os.environ.get("TERM", ""))
    raise typer.Exit(status)


def _bitbake_shell(
    store: repository.Store,
    run: names.RunName,
    argv: list[str] | None,
    sandbox: str,
    *,
    before: bool,
) -> int:
    program = sandboxes.bubblewrap(sandbox or "auto")
    with shell.put_back(
        store, run.commit, program, before=before, on_host=is_on_host(sandbox)
    ) as scene:
        note_all(scene.notes)
        if not argv:
            _introduce(run, before=before)
        return scene.run(argv or ["sh", "-i"], dict(os.environ))


def _introduce(run: names.RunName, *, before: bool) -> None:
    """Print where an interactive shell is."""
    moment = "before" if before else "after"
    note(f"prov: {run.tag}, {moment} the task; its script is temp/run.{run.key.task}")
