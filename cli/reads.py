"""`prov reads`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prov.dependencies import task_reads
from prov.history import names
from prov.reads import reads as lists

from .context import JsonOption, StoreOption, open_store, plain_name
from .fetching import fetching
from .output import YELLOW, say, say_coloured, say_json
from .pager import paged

if TYPE_CHECKING:
    Groups = Mapping[task_reads.PathGroup, list[lists.Read]]
TITLES = {"sysroots": "sysroots", "workdir": "WORKDIR", "rest": "toolchain and rest of the machine"}
"""Titles of groups that are not packages."""
MISSING = "m"


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[BUILD/]RECIPE:TASK",
            help="A run: zlib:compile for the latest, zlib:compile~1, or a tag.",
            callback=plain_name,
        ),
    ],
    missing: Annotated[bool, typer.Option("--missing", help="List only failed lookups.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List the files that a recorded task read.

    Paths are as the task saw them, grouped by the package of the sysroot that contains them.

    The first lines state whether the list is complete. `opens` are opened, executed and listed
    files. `probes` are failed lookups, uses of stat and symbolic links: only a trace (`prov build
    --trace`, `prov run --trace`) contains them. `toolchain` states whether the list also covers the
    host tools. The task may have read files that an incomplete list does not contain.

    All tasks use the same host tools. Without a trace, `shared` marks a use by this task, or by one
    that ran at the same time.

    Examples:

        prov reads libpng:compile
        prov reads latest~1/libpng:configure --missing
    """
    opened = open_store(store)
    run = fetching(opened, lambda: names.find_run(opened, name))
    answer = task_reads.run_reads(opened, run)
    groups = {
        group: [row for row in rows if MISSING in row.kinds or not missing]
        for group, rows in answer.groups.items()
    }
    if json:
        _print_json(answer, groups)
        return
    with paged():
        _print(answer, groups)


def _print_json(
    answer: task_reads.RunReads, groups: Mapping[task_reads.PathGroup, list[lists.Read]]
) -> None:
    reads = answer.reads
    tables = [
        {"owner": group.owner, "package": group.package or None, "paths": _tables(rows)}
        for group, rows in groups.items()
    ]
    say_json(
        "reads",
        run=answer.run.table(),
        opens=reads.opens,
        probes=reads.probes,
        toolchain=reads.toolchain,
        groups=tables,
    )


def _tables(rows: Iterable[lists.Read]) -> list[dict[str, Any]]:
    return [
        {
            "path": row.path,
            "uses": [lists.KINDS[letter] for letter in row.kinds],
            "programs": list(row.programs),
        }
        for row in rows
    ]


def _print(
    answer: task_reads.RunReads, groups: Mapping[task_reads.PathGroup, list[lists.Read]]
) -> None:
    say_coloured([(f"{answer.run.key}  ", ""), (answer.run.tag, YELLOW)])
    for title in ("opens", "probes", "toolchain"):
        say(f"{title:9}  {getattr(answer.reads, title)}")
    for group, rows in groups.items():
        if rows:
            say("")
            say(group.package or TITLES[group.owner])
            _print_rows(rows)


def _print_rows(rows: list[lists.Read]) -> None:
    uses = [", ".join(lists.KINDS[letter] for letter in row.kinds) for row in rows]
    width = max(map(len, uses))
    for use, row in zip(uses, rows, strict=True):
        say(f"  {use:{width}}  {row.path}")
