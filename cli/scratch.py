"""Recorded tasks put back, for `prov shell`, `prov rerun` and `prov reproduce`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from prov.history import names
from prov.replay import scratch
from prov.store import repository
from prov.sysroot import compose
from prov.tasks import sandbox as sandboxes

from .context import plain_name, sandbox_here

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE:TASK", help="A task, its newest run; or a run's tag.", callback=plain_name
    ),
]


def named_run(store: repository.Store, name: str, build: str) -> names.RunName:
    """Return the run that a task's name means: of a build, or the newest one."""
    return names.find_run(store, f"{build}/{name}" if build else name)


@contextmanager
def open_scratch(store: repository.Store, sandbox: str) -> Iterator[scratch.Scratch]:
    """Yield a scratch directory, in which recorded tasks are put back and run."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that what is mounted is unmounted
    with scratch.open_scratch(
        store,
        partial(compose.sysroots_of, store),
        sandboxes.bubblewrap(sandbox or "auto"),
        search_path=os.environ.get("PATH", ""),
        jobs=len(os.sched_getaffinity(0)),
        on_host=is_on_host(sandbox),
        mounter=sandboxes.bubblewrap("auto"),
    ) as opened:
        yield opened


def is_on_host(sandbox: str) -> bool:
    """Return whether the user, or the project of the current folder, wants no sandbox."""
    return "none" in (sandbox, sandbox_here())
