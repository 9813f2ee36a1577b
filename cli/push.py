"""`prov push`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.remote import publish
from prov.sharing import pushing
from prov.text import count_text

from .context import StoreOption, open_store
from .output import note_all, say
from .progress import shown_progress
from .sharing import (
    Remotes,
    check_shareable,
    print_withheld,
    select_results,
    selected_remotes,
    user_access,
)


def command(
    remotes: Remotes = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Publish all recorded results, not only the last build's.")
    ] = False,
    build: Annotated[
        str,
        typer.Option(
            "--build",
            metavar="BUILD",
            help="Publish this build's results: latest, a label, or an id.",
        ),
    ] = "latest",
    workdirs: Annotated[
        bool, typer.Option("--with-workdirs", help="Also publish WORKDIRs and logs.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Publish the last build's results to remotes.

    A result is a task's output with its inputs. prov pushes to the remotes added with --push, or to
    the only remote. The exit status is 1 if there are results but none can be shared.

    Example:

        prov push --remote team
    """
    opened = open_store(store)
    chosen = selected_remotes(opened, remotes, to_push=True)
    results = select_results(opened, build, everything=everything)
    check_shareable(results, {})
    if not results:
        return
    used = [result.task_hash for result in results]
    for remote in chosen:
        with shown_progress():
            outcome = pushing.push(
                opened,
                remote,
                user_access(),
                results,
                used=used,
                workdirs=workdirs or remote.workdirs,
            )
        if not outcome.published and not outcome.known:
            check_shareable(results, outcome.withheld)
        _print(remote.name, outcome)


def _print(remote: str, outcome: publish.PushOutcome) -> None:
    published = count_text(len(outcome.published), "result")
    pushes = count_text(outcome.pushes, "push", "pushes")
    say(f"{remote}: {published} published in {pushes}; {outcome.known} already there")
    note_all(outcome.notes)
    print_withheld(outcome.withheld)
    for task in outcome.differing:
        say(
            f"  not reproducible: {task.key}: a different output is published; run"
            " `prov reproduce --recorded` to compare"
        )
