"""`prov shell`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Annotated

import typer

from prov.bitbake import shell as bitbake
from prov.history import names
from prov.replay import command as commands
from prov.replay import restore
from prov.replay import scene as scenes
from prov.store import repository
from prov.tasks import recorded
from prov.tasks import sandbox as sandboxes
from prov.wrapped import recorded as runs

from .build import Sandbox
from .context import BuildOption, StoreOption, open_store
from .output import note, note_all
from .scratch import TaskName, is_on_host, named_run, open_scratch


def command(
    name: TaskName,
    argv: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="Run COMMAND instead of a shell."),
    ] = None,
    before: Annotated[
        bool, typer.Option("--before", help="Restore the state before the task, not after it.")
    ] = False,
    build: BuildOption = "",
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Open a shell in a recorded task's WORKDIR.

    prov restores the WORKDIR, the sysroots and the environment of the run, even of a failed one.
    Your changes are deleted when the shell exits. temp/run.TASK is the task's script. The exit
    status is the shell's or the command's.

    Examples:

        prov shell zlib:compile
        prov shell zlib:compile --before -- make -n
    """
    opened = open_store(store)
    run = named_run(opened, name, build)
    with _scene_of(opened, run)(opened, run, sandbox, before=before) as scene:
        note_all(scene.notes)
        if not argv:
            moment = "before" if before else "after"
            note(f"prov: {run.tag}, {moment} the task; its script is temp/run.{run.key.task}")
        status = scene.run(argv or scene.shell())
    raise typer.Exit(status)


def _scene_of(
    store: repository.Store, run: names.RunName
) -> Callable[..., AbstractContextManager[scenes.Scene]]:
    if bitbake.is_bitbakes(store, run.commit):
        return partial(_mounted_scene, bitbake.put_back)
    if runs.is_command(store, run.commit):
        return partial(_mounted_scene, commands.restored)
    return _scene


@contextmanager
def _scene(
    store: repository.Store, run: names.RunName, sandbox: str, *, before: bool
) -> Iterator[scenes.Scene]:
    terminal = os.environ.get("TERM", "")
    with open_scratch(store, sandbox) as scratch:
        task = recorded.read_task(store, run.key, run.commit)
        yield restore.restore_task(scratch, task, before=before, terminal=terminal)


@contextmanager
def _mounted_scene(
    restored: Callable[..., AbstractContextManager[scenes.Scene]],
    store: repository.Store,
    run: names.RunName,
    sandbox: str,
    *,
    before: bool,
) -> Iterator[scenes.Scene]:
    """Yield a directory restored by a function, to be mounted at its recorded path."""
    program, on_host = sandboxes.bubblewrap(sandbox or "auto"), is_on_host(sandbox)
    with restored(store, run.commit, program, os.environ, before=before, on_host=on_host) as scene:
        yield scene
