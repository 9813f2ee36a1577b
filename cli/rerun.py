"""`prov rerun`."""

from __future__ import annotations

import os

from prov.replay import command as commands
from prov.replay import reproduce
from prov.tasks import sandbox as sandboxes
from prov.wrapped import recorded

from .build import Sandbox
from .context import BuildOption, JsonOption, StoreOption, open_store
from .output import note_all
from .progress import shown_progress
from .repetitions import print_repetitions
from .scratch import TaskName, is_on_host, named_run, open_scratch


def command(
    name: TaskName,
    build: BuildOption = "",
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Run a recorded task again and compare the result.

    The task runs in its recorded WORKDIR, sysroots and environment. A command of `prov run` runs in
    its recorded directory, on this machine, without network. Nothing is recorded. The exit status
    is 1 if the result differs.

    Example:

        prov rerun zlib:compile --build release-1.0
    """
    opened = open_store(store)
    run = named_run(opened, name, build)
    if recorded.is_command(opened, run.commit):
        program, on_host = sandboxes.bubblewrap(sandbox or "auto"), is_on_host(sandbox)
        with shown_progress():
            result, notes = commands.rerun_command(
                opened, run, program, os.environ, on_host=on_host
            )
        note_all(notes)
        print_repetitions([result], json=json)
        return
    with open_scratch(opened, sandbox) as scratch, shown_progress():
        repetition = reproduce.rerun(opened, run, scratch)
        print_repetitions([repetition], json=json)
