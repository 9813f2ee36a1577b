"""`prov fsck`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from prov import progress
from prov.fsck import check, findings, sources
from prov.fsck import repair as repairs
from prov.remote import lost, settings
from prov.store import repository
from prov.text import count_text
from prov.transport import access

from .context import JsonOption, StoreOption, root, store_path, work_here
from .output import say, say_json
from .progress import shown_progress

SHOWN_REFS = 3
"""Number of printed refs for each damaged object."""


def command(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Restore damaged objects from copies; delete what has none."),
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Also read all files in the pools.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Check a store for damage, and repair it.

    prov checks objects, refs, records, builds, pools and caches, and prints which refs need a
    damaged object. The exit status is 1 if there are errors.

    Example:

        prov fsck --repair
    """
    path = store_path(store)
    head = check.head_problem(path) if (path / "config").exists() else None
    if head is not None and not repair:
        _report(check.Findings([head]), None, json=json)
        raise typer.Exit(1)
    if head is not None:
        repairs.repair_head(path)
    opened = repository.Store.open(path)
    if repair:
        with shown_progress():
            done = _repair(opened, full=full)
        _report(done.before, done, json=json)
        problems = done.after
    else:
        with shown_progress():
            problems = check.check(opened, thorough=full, report=_show_activity)
        _report(problems, None, json=json)
    if problems.wrong:
        raise typer.Exit(1)


def _repair(store: repository.Store, *, full: bool) -> repairs.Repair:
    remotes = settings.read_remotes(store)
    with lost.lost_objects(store, remotes, access.Access(dict(os.environ))) as fetch:
        copies = sources.Sources(work_here(), root(), fetch)
        return repairs.repair(store, copies, thorough=full, report=_show_activity)


def _show_activity(activity: str) -> None:
    progress.report(activity, 0)


def _report(problems: check.Findings, repair: repairs.Repair | None, *, json: bool) -> None:
    if json:
        _print_json(problems, repair)
    elif repair is None:
        for problem in problems.problems:
            _print_problem(problem, repairs=False)
        say(_check_summary(problems))
    else:
        _print_repair(problems, repair)


def _print_json(problems: check.Findings, repair: repairs.Repair | None) -> None:
    left = problems if repair is None else repair.after
    steps = () if repair is None else repair.done
    say_json(
        "fsck",
        problems=[asdict(problem) for problem in problems.problems],
        done=[step._asdict() for step in steps],
        left=[asdict(problem) for problem in left.problems],
    )


def _print_repair(problems: check.Findings, repair: repairs.Repair) -> None:
    for problem in problems.problems:
        _print_problem(problem, repairs=True)
    for step in repair.done:
        say(f"repaired: {step.where}: {step.what}")
    if repair.after.problems:
        say("not repaired:")
    for problem in repair.after.problems:
        _print_problem(problem, repairs=True)
    say(_repair_summary(repair))


def _print_problem(problem: findings.Problem, *, repairs: bool) -> None:
    mark = "note" if problem.harmless else "error"
    say(f"{mark}: {problem.kind} {problem.where}: {problem.what}")
    if problem.needed_by:
        refs = ", ".join(problem.needed_by[:SHOWN_REFS])
        more = len(problem.needed_by) - SHOWN_REFS
        if more > 0:
            refs += f" and {more} more"
        say(f"  needed by {refs}")
    if problem.repair and not repairs:
        say(f"  with --repair: {problem.repair}")


def _check_summary(problems: check.Findings) -> str:
    notes = len(problems.problems) - len(problems.wrong)
    remarks = f"; {count_text(notes, 'note')}" if notes else ""
    if not problems.wrong:
        return f"no errors{remarks}"
    wrong = count_text(len(problems.wrong), "error")
    return f"{wrong}{remarks}; run `prov fsck --repair` to repair"


def _repair_summary(repair: repairs.Repair) -> str:
    if repair.after.wrong:
        return f"{count_text(len(repair.after.wrong), 'error')} not repaired"
    return "all errors repaired" if repair.done else "no errors"
