"""`prov builds`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prov.history import builds
from prov.records import outcomes
from prov.text import few, seconds_text

from .context import JsonOption, StoreOption, open_store
from .formats import FormatOption, say_formatted
from .output import remark, say, say_json, time_text
from .pager import paged

COUNTS = ("ran", "restored", "fetched", "cut-off", "stale", "failed")


def command(
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="List the newest N.")
    ] = 20,
    form: FormatOption = "",
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List recorded builds.

    Each line has the build's id, time, result, targets, number of tasks by outcome, host and
    labels. The newest build comes first.

    Examples:

        prov builds -n 5
        prov builds --format '%(id) %(result) %(targets)'
    """
    rows = builds.list_builds(open_store(store), limit)
    if not rows:
        remark("no builds are recorded in this store")
    if json:
        say_json("builds", builds=[_table(row) | {"facts": row.facts} for row in rows])
        return
    if form:
        say_formatted(form, [_table(row) | row.facts for row in rows])
        return
    with paged():
        for row in rows:
            say("  ".join(field for field in _fields(row) if field))


def _table(row: builds.BuildRow) -> dict[str, Any]:
    return {
        "id": row.commit.hex(),
        "time": row.seconds,
        "seconds": row.took,
        "labels": list(row.labels),
        "pinned": row.pinned,
    }


def _fields(row: builds.BuildRow) -> list[str]:
    """Return the fields of a build's line; some may be empty."""
    counts = []
    for what in COUNTS:
        number = row.facts.get(what, "0")
        if number != "0":
            counts.append(f"{number} {outcomes.outcome_text(what.replace('-', ' '))}")
    tasks = ", ".join(counts) or "nothing to do"
    marks = list(row.labels)
    if row.pinned:
        marks.append("pinned")
    return [
        row.id,
        time_text(row.seconds),
        f"{row.facts.get('result', ''):11}",
        few(row.facts.get("targets", "").split()),
        f"{tasks}; {seconds_text(row.took)}",
        row.facts.get("host", ""),
        ", ".join(marks),
    ]
