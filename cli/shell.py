"""`prov shell`, `prov rerun` and `prov reproduce`: recorded tasks, put back and run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from .build import Sandbox
from .context import BuildOption, JsonOption, StoreOption, open_store, plain_name, sandbox_here
from .output import count_text, note, say, say_json

if TYPE_CHECKING:
    from prov.history.names import RunName
    from prov.replay.reproduce import Again
    from prov.replay.scratch import Aside
    from prov.store.repository import Store

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE:TASK", help="A task, its newest run; or a run's tag.", callback=plain_name
    ),
]
SHOWN = 20


@contextmanager
def _scratch(store: Store, sandbox: str) -> Iterator[Aside]:
    from prov.replay.scratch import aside
    from prov.sysroot.compose import sysroots_of
    from prov.tasks.sandbox import bubblewrap

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that what is mounted is unmounted
    with aside(
        store,
        partial(sysroots_of, store),
        bubblewrap(sandbox or "auto"),
        search_path=os.environ.get("PATH", ""),
        jobs=len(os.sched_getaffinity(0)),
        on_host="none" in (sandbox, sandbox_here()),
        mounter=bubblewrap("auto"),
    ) as made:
        yield made


def shell(
    name: TaskName,
    command: Annotated[
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
    from prov.bitbake.shell import is_bitbakes
    from prov.history.names import find_run
    from prov.tasks.recorded import read_task

    opened = open_store(store)
    run = find_run(opened, f"{build}/{name}" if build else name)
    if is_bitbakes(opened, run.commit):
        raise typer.Exit(_bitbake_shell(opened, run, command, sandbox, before=before))
    with _scratch(opened, sandbox) as scratch:
        scene = scratch.put_back(read_task(opened, run.key, run.commit), before=before)
        for text in scratch.notes:
            note(f"note: {text}")
        if not command:
            note(
                f"prov: {run.tag}, {'before' if before else 'after'} the task; its script is"
                f" temp/run.{run.task}"
            )
        code = scene.run(command or scene.shell(), terminal=os.environ.get("TERM", ""))
    raise typer.Exit(code)


def _bitbake_shell(
    store: Store, run: RunName, command: list[str] | None, sandbox: str, *, before: bool
) -> int:
    from prov.bitbake.shell import put_back
    from prov.tasks.sandbox import bubblewrap

    on_host = "none" in (sandbox, sandbox_here())
    with put_back(
        store, run.commit, bubblewrap(sandbox or "auto"), before=before, on_host=on_host
    ) as scene:
        for text in scene.notes:
            note(f"note: {text}")
        if not command:
            note(
                f"prov: {run.tag}, {'before' if before else 'after'} the task; its script is"
                f" temp/run.{run.task}"
            )
        return scene.run(command or ["sh", "-i"], dict(os.environ))


def rerun(
    name: TaskName,
    build: BuildOption = "",
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Run a recorded task again, just as it was, and tell whether it gives the same.

    Nothing of it is recorded. Exit 1 if it does not. Example: prov rerun zlib:compile --build
    release
    """
    from prov.history.names import find_run
    from prov.replay.reproduce import rerun as run_again

    opened = open_store(store)
    run = find_run(opened, f"{build}/{name}" if build else name)
    with _scratch(opened, sandbox) as scratch:
        _report(opened, [run_again(opened, run, scratch)], json=json)


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="A recipe's tasks, or one and those before.",
            callback=plain_name,
        ),
    ],
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Build from recorded inputs again, in another directory and file order, and tell which outputs
    are different.

    Nothing of it is recorded. Exit 1 if any is. Example: prov reproduce zlib
    """
    from prov.replay.reproduce import other_order
    from prov.replay.reproduce import reproduce as build_again

    opened = open_store(store)
    found = []
    with _scratch(opened, sandbox) as scratch, other_order(scratch.folder / "work") as text:
        if text:
            note(f"note: {text}")
        for each in build_again(opened, name, scratch):
            found.append(each)
            note(f"{each.key}: {'same' if each.same else each.problem or 'different'}")
    _report(opened, found, json=json)


def _report(store: Store, found: list[Again], *, json: bool) -> None:
    if json:
        rows = [
            {
                "task": each.key,
                "tag": each.run.tag,
                "same": each.same,
                "problem": each.problem,
                "output": [asdict(line) for line in each.output],
                "workdir": [asdict(line) for line in each.workdir],
            }
            for each in found
        ]
        say_json("reproduced", tasks=rows)
    else:
        for each in found:
            # an output that is the same says that what is different in the WORKDIR does no harm
            _print(each, workdir=len(found) == 1 or any(not other.same for other in found))
        different = [each.key for each in found if not each.same]
        verdict = f"not the same: {', '.join(different)}" if different else "the same"
        say(f"{count_text(len(found), 'task')} run again: {verdict}")
    if any(not each.same for each in found):
        raise typer.Exit(1)


def _print(each: Again, *, workdir: bool) -> None:
    if each.problem:
        say(f"{each.key}: {each.problem}")
        for text in each.log.splitlines()[-SHOWN:]:
            say(f"    {text}")
    for title, lines in (("output", each.output), ("WORKDIR", each.workdir if workdir else ())):
        if lines and not each.problem:
            say(f"{each.key}: its {title} is different:")
            for line in lines[:SHOWN]:
                say(f"  {line.line}")
            if len(lines) > SHOWN:
                say(f"  and {len(lines) - SHOWN} more")
