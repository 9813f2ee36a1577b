"""`prov builds`."""

from __future__ import annotations

from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store
from .output import say, say_json, seconds_text, time_text

COUNTS = ("ran", "restored", "fetched", "cut-off", "stale", "failed")


def builds(
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")
    ] = 20,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List builds, newest first: when, result, what ran, labels, targets.

    Example: prov builds -n 5
    """
    from prov.history.builds import list_builds
    from prov.text import few

    rows = list_builds(open_store(store), limit)
    if json:
        table = [
            {
                "id": each.commit.hex(),
                "seconds": each.seconds,
                "labels": list(each.labels),
                "pinned": each.pinned,
                "facts": each.facts,
            }
            for each in rows
        ]
        say_json("builds", builds=table)
        return
    for each in rows:
        facts = each.facts
        counts = [
            f"{facts[what]} {what.replace('-', ' ')}"
            for what in COUNTS
            if facts.get(what, "0") != "0"
        ]
        took = seconds_text(each.took)
        marks = [*each.labels, *(["pinned"] if each.pinned else [])]
        targets = few(facts.get("targets", "").split())
        words = [f"{each.id}  {time_text(each.seconds)}  {facts.get('result', ''):11}", targets]
        words += [
            f"{', '.join(counts) or 'nothing to do'}; {took}",
            facts.get("host", ""),
            ", ".join(marks),
        ]
        say("  ".join(word for word in words if word))
