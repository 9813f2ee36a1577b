"""`prov build`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from prov.records import outcomes
from prov.scheduler import session as sessions
from prov.scheduler import summary as summaries
from prov.tasks import job
from prov.text import seconds_text, size_text

from .context import SetOption, StoreOption, open_session
from .farming import CredentialsOption, opened_farm
from .output import note, say
from .progress import make_progress

Targets = Annotated[
    list[str],
    typer.Argument(metavar="TARGET", help="A recipe, a recipe:task, or world for all recipes."),
]
Force = Annotated[
    list[str] | None,
    typer.Option(
        "--force",
        "-f",
        metavar="RECIPE:TASK",
        help="Run this task and its dependents even if they are recorded. Repeatable.",
    ),
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Run every task of the targets and of their dependencies.")
]
Only = Annotated[
    bool,
    typer.Option(
        "--only", "-b", help="Run tasks of the target recipes only; report missing inputs."
    ),
]
Follow = Annotated[
    Literal["never", "changed", "always"],
    typer.Option(
        "--follow",
        help="When to run dependents of a rebuilt task; never marks them stale.",
    ),
]
Incremental = Annotated[
    bool,
    typer.Option(
        "--incremental",
        help="Start the targets' tasks from their current WORKDIRs; never reuse the results.",
    ),
]
Trace = Annotated[
    list[str] | None,
    typer.Option(
        "--trace",
        metavar="RECIPE[:TASK]",
        help="Run this task, or all tasks of this recipe, under strace. Repeatable.",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use no remotes.")]
Farm = Annotated[
    str,
    typer.Option("--farm", metavar="URL", help="Run tasks on a farm or a REAPI server."),
]
Sandbox = Annotated[
    str,
    typer.Option("--sandbox", metavar="auto|bwrap|none", help="Override `sandbox` in prov.toml."),
]


def command(
    targets: Targets,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=1024,
            metavar="N",
            help="Run up to N jobs at once, make's jobs included.",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", "-k", help="Keep building targets that do not depend on a failed task."
        ),
    ] = False,
    force: Force = None,
    rebuild: Rebuild = False,
    only: Only = False,
    follow: Follow = "changed",
    incremental: Incremental = False,
    trace: Trace = None,
    offline: Offline = False,
    sandbox: Sandbox = "",
    farm: Farm = "",
    credentials: CredentialsOption = None,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Build targets and record every task.

    prov runs the tasks whose inputs changed, restores recorded outputs of the others, and commits
    each task's WORKDIR. A task whose inputs are unchanged after its dependencies ran is skipped.

    With --trace, the record of a task also lists failed lookups, uses of stat, and the programs
    that read each file. A task that fails under strace runs again without it. Traced tasks run even
    if they are recorded, and need bubblewrap.

    Examples:

        prov build -j4 image
        prov build --force zlib:compile image
    """
    session = open_session(store, settings, sandbox=sandbox, offline=offline, create=True)
    request = sessions.Request(
        tuple(targets),
        tuple(force or ()),
        rebuild,
        only,
        follow,
        incremental,
        tuple(trace or ()),
    )
    options = summaries.RunOptions(keep_going=keep_going)
    if jobs:
        options = replace(options, jobs=jobs)
    with make_progress() as progress, opened_farm(session, farm, credentials, progress) as place:
        summary, deployed = session.build(request, progress, options, place)
    for path in deployed.placed:
        note(f"deployed {session.deploy_dir / path}")
    for path in deployed.removed:
        note(f"removed from deploy: {session.deploy_dir / path}")
    _print(summary)
    if summary.interrupted:
        raise KeyboardInterrupt
    if not summary.ok:
        raise typer.Exit(1)


def _print(summary: summaries.Summary) -> None:
    for result in summary.failed:
        _print_failure(result)
    for key in summary.not_built:
        say(f"not built: {key}")
    counts = [
        f"{summary.count(what)} {outcomes.outcome_text(what)}"
        for what in summaries.COUNTED
        if summary.count(what)
    ]
    if summary.failed:
        counts.append(f"{len(summary.failed)} failed")
    if summary.interrupted:
        counts.append("interrupted")
    tasks = ", ".join(counts) or "nothing to do"
    say(f"{tasks}; {seconds_text(summary.seconds)}; {size_text(summary.added)} added to the store")


def _print_failure(result: job.Result) -> None:
    say(f"failed: {result.key}: {result.problem}")
    for line in result.log_tail:
        say(f"    {line}")
    for line in result.advice:
        say(f"  hint: {line}")
    if result.log:
        say(f"  log: {result.log}")
