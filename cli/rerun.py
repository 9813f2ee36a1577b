"""`prov rerun`."""

from __future__ import annotations

from prov.replay import reproduce

from .build import Sandbox
from .context import BuildOption, JsonOption, StoreOption, open_store
from .progress import shown_progress
from .repetitions import print_repetitions
from .scratch import TaskName, named_run, open_scratch


def command(
    name: TaskName,
    build: BuildOption = "",
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Run a recorded task again and compare the result.

    The task runs in its recorded WORKDIR, sysroots and environment. Nothing is recorded. The exit
    status is 1 if the result differs.

    Example:

        prov rerun zlib:compile --build release-1.0
    """
    opened = open_store(store)
    run = named_run(opened, name, build)
    with open_scratch(opened, sandbox) as scratch, shown_progress():
        repetition = reproduce.rerun(opened, run, scratch)
        print_repetitions([repetition], json=json)
