"""`prov build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .context import SetOption, StoreOption, open_session
from .output import note, say, seconds_text

if TYPE_CHECKING:
    from prov.scheduler.summary import Summary

Targets = Annotated[
    list[str], typer.Argument(metavar="TARGET…", help="recipe, recipe:task, or world.")
]
Force = Annotated[
    list[str] | None,
    typer.Option(
        "--force",
        "-f",
        metavar="RECIPE:TASK",
        help="Run this task and what follows from it, recorded or not.",
    ),
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Run every task of the targets and of all they depend on.")
]
Only = Annotated[
    bool,
    typer.Option("--only", "-b", help="Run no task of other recipes; say which input is missing."),
]
Follow = Annotated[
    Literal["never", "changed", "always"],
    typer.Option(
        "--follow",
        help="Whether dependents run when a dependency was rebuilt; `never` marks them stale.",
    ),
]
Incremental = Annotated[
    bool,
    typer.Option(
        "--incremental",
        help="Start the targets' tasks from what is in their WORKDIRs; never reused.",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Leave remotes alone.")]
Sandbox = Annotated[
    str, typer.Option("--sandbox", metavar="auto|bwrap|none", help="Over what prov.toml says.")
]


def build(
    targets: Targets,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, max=1024, help="Jobs at once, make's included."),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="Go on with what does not need what failed.")
    ] = False,
    force: Force = None,
    rebuild: Rebuild = False,
    only: Only = False,
    follow: Follow = "changed",
    incremental: Incremental = False,
    offline: Offline = False,
    sandbox: Sandbox = "",
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Build targets: run what must run, restore what is recorded, commit every task.

    Example: prov build -j4 image
    """
    from prov.scheduler.session import Request
    from prov.scheduler.summary import RunOptions

    from .progress import make_progress

    session = open_session(store, settings, sandbox=sandbox, offline=offline, create=True)
    request = Request(tuple(targets), tuple(force or ()), rebuild, only, follow, incremental)
    options = (
        RunOptions(keep_going=keep_going)
        if not jobs
        else RunOptions(jobs=jobs, keep_going=keep_going)
    )
    with make_progress() as progress:
        summary, deployed = session.build(request, progress, options)
    for path in deployed.placed:
        note(f"deployed {session.deploy_dir / path}")
    for path in deployed.removed:
        note(f"no longer deployed: {session.deploy_dir / path}")
    _report(summary)
    if summary.interrupted:
        raise KeyboardInterrupt
    if not summary.ok:
        raise typer.Exit(1)


def _report(summary: Summary) -> None:
    from prov.scheduler.summary import COUNTED
    from prov.text import size_text

    for result in summary.failed:
        say(f"failed: {result.key}: {result.problem}")
        for line in result.log_tail:
            say(f"    {line}")
        for line in result.advice:
            say(f"  hint: {line}")
        if result.log:
            say(f"  the whole log: less {result.log}")
    for key in summary.not_built:
        say(f"not built: {key}")
    counts = [f"{summary.count(what)} {what}" for what in COUNTED if summary.count(what)]
    counts += [f"{len(summary.failed)} failed"] if summary.failed else []
    took, added = seconds_text(summary.seconds), size_text(summary.added)
    if summary.interrupted:
        counts.append("interrupted")
    say(f"{', '.join(counts) or 'nothing to do'}; {took}; {added} added to the store")
