"""`prov gc`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from prov.store import sweep
from prov.text import count_text, parse_size, size_text
from prov.upkeep import background, collection, free_space, pruned

from .context import JsonOption, StoreOption, open_store, rules_here, work_here
from .output import note, note_all, say, say_json
from .progress import shown_progress


def command(
    builds: Annotated[
        int | None,
        typer.Option(
            "--builds",
            min=1,
            metavar="N",
            help="Keep the outputs of the last N builds. Default: 20.",
        ),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(
            "--days", min=0, metavar="N", help="Keep everything newer than N days. Default: 30."
        ),
    ] = None,
    workdirs: Annotated[
        int | None,
        typer.Option(
            "--workdirs",
            min=0,
            metavar="N",
            help="Keep the WORKDIRs of the last N builds. Default: 5.",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--size",
            metavar="SIZE",
            help="Also delete the least recently used results until the store fits in SIZE (20G).",
        ),
    ] = "",
    min_free: Annotated[
        str,
        typer.Option(
            "--min-free",
            metavar="SIZE",
            help="Also delete the least recently used results until SIZE is free on the disk.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="List what would be deleted; delete nothing.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Delete old WORKDIRs and outputs, and free space.

    prov keeps builds with a label or a pin, each task's last result, and runs in the history of a
    kept run. It is safe beside running builds, but frees space only when none runs. Options
    override [gc] in prov.toml. With --min-free, the exit status is 1 if less than SIZE is free at
    the end.

    Examples:

        prov gc --days 14 --size 50G --dry-run
        prov gc --min-free 5G
    """
    opened = open_store(store)
    options = {
        "builds": builds,
        "days": days,
        "workdirs": workdirs,
        "size": parse_size(size) if size else None,
        "min_free": parse_size(min_free) if min_free else None,
    }
    rules = replace(rules_here(), **_set(options))
    pool = (0, 0) if dry_run else background.clear_pools(opened)
    deletions = collection.plan_gc(opened, rules)
    if dry_run:
        swept = sweep.measure(opened.objects, collection.held_after(opened, deletions))
        scratch = 0
    else:
        with shown_progress():
            collection.prune(opened, deletions)
            swept = sweep.sweep(opened.objects)
            scratch = _clear_scratch()
    free = free_space.free_space(opened.path) + (swept.size if dry_run else 0)
    freed = _Freed(deletions, swept, pool[0], pool[1], scratch, free)
    if json:
        _print_json(freed, dry_run=dry_run)
    else:
        _print(freed, dry_run=dry_run)
    if rules.min_free is not None and free < rules.min_free:
        _note_shortage(freed, opened.path, min_free, dry_run=dry_run)
        raise typer.Exit(1)


def _note_shortage(freed: _Freed, folder: Path, min_free: str, *, dry_run: bool) -> None:
    """Print that less than the requested space is free, and what holds the rest."""
    verb = "would be" if dry_run else "are"
    note(f"prov: {folder}: only {size_text(freed.free)} {verb} free, less than {min_free}")
    if freed.objects.in_use:
        note("  hint: run `prov gc` again when no build is running")
    else:
        note("  hint: remove labels and pins, run it again in an hour, or free other space")


def _set(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the user passed; prov.toml sets the others."""
    return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Freed:
    """The deleted refs and objects; sizes in bytes."""

    refs: list[pruned.Deletion]
    objects: sweep.Swept
    pool_files: int
    pool_size: int
    scratch: int
    """Number of deleted scratch directories."""
    free: int
    """Free space on the store's file system after the deletions."""


def _print_json(freed: _Freed, *, dry_run: bool) -> None:
    say_json(
        "gc",
        dry_run=dry_run,
        refs=[{"ref": deletion.ref, "rule": deletion.rule} for deletion in freed.refs],
        objects=freed.objects.objects,
        bytes=freed.objects.size,
        pool_files=freed.pool_files,
        pool_bytes=freed.pool_size,
        scratch_directories=freed.scratch,
        in_use=freed.objects.in_use,
        free_bytes=freed.free,
    )


def _print(freed: _Freed, *, dry_run: bool) -> None:
    end = " would be deleted" if dry_run else ""
    for rule, count in Counter(deletion.rule for deletion in freed.refs).items():
        say(f"by rule {rule}: {count_text(count, 'ref')}{end}")
    if freed.objects.in_use:
        say("a build is running: the next `prov gc` frees the space")
        return
    verb = "would be" if dry_run else "were"
    objects = count_text(freed.objects.objects, "object")
    parts = [f"{objects}, {size_text(freed.objects.size)} {verb} deleted"]
    if freed.pool_files:
        parts.append(f"{size_text(freed.pool_size)} in the pool")
    if freed.scratch:
        parts.append(f"{count_text(freed.scratch, 'scratch folder')} deleted")
    say("; ".join(parts))


def _clear_scratch() -> int:
    """Delete scratch directories of the project's builds; return their number."""
    work = work_here()
    if work is None:
        return 0
    removed, errors = background.clear_aside(work.parent)
    note_all(f"not deleted: {error}" for error in errors)
    return removed
