"""`prov builds`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.history import builds
from prov.text import few, seconds_text

from .context import JsonOption, StoreOption, open_store
from .output import say, say_json, time_text

COUNTS = ("ran", "restored", "fetched", "cut-off", "stale", "failed")


def command(
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")
    ] = 20,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List builds, newest first: when, result, what ran, labels, targets.

    Example: prov builds -n 5
    """
    rows = builds.list_builds(open_store(store), limit)
    if json:
        table = [
            {
                "id": row.commit.hex(),
                "seconds": row.seconds,
                "labels": list(row.labels),
                "pinned": row.pinned,
                "facts": row.facts,
            }
            for row in rows
        ]
        say_json("builds", builds=table)
        return
    for row in rows:
        say("  ".join(field for field in _fields(row) if field))


def _fields(row: builds.BuildRow) -> list[str]:
    """Return what a line shows of a build; a field may be empty."""
    counts = []
    for what in COUNTS:
        number = row.facts.get(what, "0")
        if number != "0":
            counts.append(f"{number} {what.replace('-', ' ')}")
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
