"""Restored tasks for `prov shell`, `prov rerun` and `prov reproduce`."""

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
        metavar="RECIPE:TASK",
        help="A run: zlib:compile for the latest, zlib:compile~1, or a tag.",
        callback=plain_name,
    ),
]


def named_run(store: repository.Store, name: str, build: str) -> names.RunName:
    """Return the run with a name, in a build or the latest."""
    return names.find_run(store, f"{build}/{name}" if build else name)


@contextmanager
def open_scratch(store: repository.Store, sandbox: str) -> Iterator[scratch.Scratch]:
    """Yield a scratch directory in which prov restores and runs recorded tasks."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # unmounts before exiting
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
    """Return whether an option or prov.toml disables the sandbox."""
    return "none" in (sandbox, sandbox_here())
