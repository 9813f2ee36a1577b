"""`prov fsck`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .context import JsonOption, StoreOption, root, store_path, work_here
from .output import count_text, note, say, say_json

if TYPE_CHECKING:
    from prov.fsck.check import Findings
    from prov.fsck.findings import Problem
    from prov.fsck.repair import Repair

NAMED = 3
"""So many refs are named that need what is wrong."""


def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put back what is found elsewhere; drop the rest.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Read the files of the pools too.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Tell what is wrong with a store, what depends on it, and what to do about it; exit 1 if
    anything is.

    Checks objects, refs, records, builds, and pools and caches beside them. Example: prov fsck
    --repair
    """
    from prov.fsck.check import Findings, check, head_problem
    from prov.fsck.repair import repair as repair_store
    from prov.fsck.repair import repair_head
    from prov.fsck.sources import Sources
    from prov.remote.lost import lost_objects
    from prov.remote.settings import read_remotes
    from prov.store.repository import Store
    from prov.transport.access import Access

    path = store_path(store)
    head = head_problem(path) if (path / "config").exists() else None
    if head is not None and not repair:
        _show(Findings([head]), None, json=json)
        raise typer.Exit(1)
    if head is not None:
        repair_head(path)
    told = _tell if sys.stderr.isatty() else lambda text: None
    opened = Store.open(path)
    if not repair:
        found = check(opened, thorough=full, told=told)
        _show(found, None, json=json)
    else:
        with lost_objects(opened, read_remotes(opened), Access(dict(os.environ))) as fetch:
            done = repair_store(
                opened, Sources(work_here(), root(), fetch), thorough=full, told=told
            )
        found = done.after
        _show(done.before, done, json=json)
    if found.wrong:
        raise typer.Exit(1)


def _tell(text: str) -> None:
    note(f"prov: {text}")


def _show(found: Findings, repair: Repair | None, *, json: bool) -> None:
    left = repair.after.problems if repair is not None else found.problems
    done = [each._asdict() for each in repair.done] if repair is not None else []
    if json:
        say_json(
            "fsck",
            problems=[asdict(each) for each in found.problems],
            done=done,
            left=[asdict(p) for p in left],
        )
        return
    for problem in found.problems:
        _problem(problem, repairs=repair is not None)
    for each in repair.done if repair is not None else ():
        say(f"repaired: {each.where}: {each.what}")
    if repair is not None and left:
        say("still wrong:")
        for problem in left:
            _problem(problem, repairs=True)
    say(_summary(found, repair))


def _problem(problem: Problem, *, repairs: bool) -> None:
    mark = "note" if problem.harmless else "wrong"
    say(f"{mark}: {problem.kind} {problem.where}: {problem.what}")
    if problem.needed_by:
        more = len(problem.needed_by) - NAMED
        say(
            "  needed by"
            f" {', '.join(problem.needed_by[:NAMED])}{f' and {more} more' if more > 0 else ''}"
        )
    if problem.repair and not repairs:
        say(f"  with --repair: {problem.repair}")


def _summary(found: Findings, repair: Repair | None) -> str:
    if repair is None:
        notes = len(found.problems) - len(found.wrong)
        beside = f"; {count_text(notes, 'note')}" if notes else ""
        if not found.wrong:
            return f"the store is whole{beside}"
        return (
            f"{count_text(len(found.wrong), 'thing')} wrong{beside}; `prov fsck --repair` repairs"
            " what can be"
        )
    left = repair.after.wrong
    if left:
        return f"{count_text(len(left), 'thing')} still wrong"
    return "the store is whole again" if repair.done else "the store is whole"
