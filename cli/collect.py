"""`prov gc`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store, rules_here, work_here
from .output import count_text, note, say, say_json


def gc(
    builds: Annotated[
        int | None, typer.Option("--builds", min=1, help="Keep the outputs of so many builds.")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Keep everything that is younger.")
    ] = None,
    workdirs: Annotated[
        int | None, typer.Option("--workdirs", min=0, help="Keep the WORKDIRs of so many builds.")
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="SIZE", help="As in 20G: drop the least recently used until it fits."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would go.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Drop what is old: WORKDIRs first, then outputs; and free their room.

    Builds with a label or a pin, and what was built last of each task, are kept, and so are runs in
    the history of one that is kept. Safe beside running builds; while one runs no room is freed.
    What is not given comes from [gc] in prov.toml, else it is 20 builds, 30 days, 5 WORKDIRs.
    Example: prov gc --days 14 --size 50G --dry-run
    """
    from prov.store.sweep import measure, sweep
    from prov.text import parse_size, size_text
    from prov.upkeep.background import clear_pools
    from prov.upkeep.retention import Gone, held_after, plan_gc, prune

    opened = open_store(store)
    rules = rules_here()
    given = {
        "builds": builds,
        "days": days,
        "workdirs": workdirs,
        "size": parse_size(size) if size else None,
    }
    rules = replace(rules, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    gone: list[Gone] = plan_gc(opened, rules)
    pool = (0, 0)
    aside = 0
    if dry_run:
        swept = measure(opened.objects, held_after(opened, gone))
    else:
        prune(opened, gone)
        swept = sweep(opened.objects)
        pool = clear_pools(opened)
        aside = _clear_aside()
    by_rule = Counter(each.rule for each in gone)
    if json:
        say_json(
            "gc",
            refs=[{"ref": each.ref, "rule": each.rule} for each in gone],
            objects=swept.objects,
            bytes=swept.size,
            pool_files=pool[0],
            pool_bytes=pool[1],
            in_use=swept.in_use,
        )
        return
    for rule, count in by_rule.items():
        say(f"by rule {rule}: {count_text(count, 'ref')}{' would go' if dry_run else ''}")
    if swept.in_use:
        say("a build is running: the room is freed by the next `prov gc`")
    else:
        freed = f"{count_text(swept.objects, 'object')}, {size_text(swept.size)}"
        more = f"; {size_text(pool[1])} of the pool" if pool[0] else ""
        more += (
            f"; {count_text(aside, 'folder')} that builds had moved aside removed" if aside else ""
        )
        say(f"{freed} {'would be' if dry_run else 'were'} freed{more}")


def _clear_aside() -> int:
    """Remove what builds of the current folder's project have moved aside; return how many things
    that was.
    """
    from prov.upkeep.background import clear_aside

    work = work_here()
    if work is None:
        return 0
    removed, left = clear_aside(work.parent)
    for error in left:
        note(f"note: not removed: {error}")
    return removed
