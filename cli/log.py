"""`prov log`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from prov.errors import NameUnknown
from prov.history import file_names, file_versions, names
from prov.records.keys import TaskKey
from prov.store import repository
from prov.text import nearest

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .formats import FormatOption, formatted, say_formatted
from .output import RED, YELLOW, remark, say, say_coloured, say_json, short_id, time_text
from .pager import paged


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]|PATH", help="List only its runs.", callback=plain_name
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="List the newest N.")
    ] = 50,
    form: FormatOption = "",
    with_graph: Annotated[
        bool,
        typer.Option("--graph", help="Draw which run continued the WORKDIR of which other run."),
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List recorded runs, or the builds that changed a file.

    Each run is listed with its tag, which git and all prov commands understand. The newest run
    comes first.

    Examples:

        prov log zlib:compile
        prov log usr/bin/hello
        prov log --format '%(tag) %(build)' zlib
    """
    opened = open_store(store)
    with paged():
        if "/" in name:
            _log_path(opened, name, limit, form, json=json)
        else:
            _log_runs(opened, name, limit, form, with_graph=with_graph, json=json)


def _log_runs(
    store: repository.Store, name: str, limit: int, form: str, *, with_graph: bool, json: bool
) -> None:
    key = TaskKey(name)
    runs = names.runs(store, key.recipe, key.task, limit=limit)
    if name and not runs:
        tasks = names.recorded_tasks(store)
        recipes = sorted({task.recipe for task in tasks})
        raise NameUnknown(
            f"no run of {name} is recorded",
            hint=nearest(name, [*tasks, *recipes]) or "run `prov log` to list recorded runs",
        )
    if not runs:
        remark("no runs are recorded in this store")
    runs = names.newest(store, runs, limit)
    builds = {tag: build.commit.hex() for tag, build in names.builds_of(store, runs).items()}
    rows = [run.table() | {"build": builds.get(run.tag)} for run in runs]
    if json:
        say_json("log", runs=rows)
    elif with_graph:
        _draw(store, rows, form)
    elif form:
        say_formatted(form, rows)
    else:
        for row in rows:
            say_coloured(_parts(row))


def _draw(store: repository.Store, rows: list[dict[str, Any]], form: str) -> None:
    by_commit = {row["commit"]: row for row in rows}
    for edges, commit, subject in names.first_parents(store, list(by_commit)):
        if commit not in by_commit:
            say(f"{edges}{subject}".rstrip())
        elif form:
            say(f"{edges}{formatted(form, by_commit[commit])}")
        else:
            say_coloured([(edges, ""), *_parts(by_commit[commit])])


def _parts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the line of a run as texts with their colours."""
    where = f"build {row['build'][:12]}" if row["build"] else "in no build"
    parts = [(f"{time_text(row['time'])}  {where}  {row['task']}  ", "")]
    if row["failed"]:
        parts.append(("FAILED  ", RED))
    return [*parts, (row["tag"], YELLOW)]


def _log_path(store: repository.Store, name: str, limit: int, form: str, *, json: bool) -> None:
    file = file_names.find_file(store, name, work=work_here())
    versions = list(islice(file_versions.versions(store, file), limit))
    rows = [
        {
            "build": version.build.hex(),
            "time": version.seconds,
            "blob": version.node.oid.hex() if version.node else None,
        }
        for version in versions
    ]
    if json:
        say_json("log-of-path", file=file.text, versions=rows)
        return
    if form:
        say_formatted(form, rows)
        return
    for version in versions:
        when, build = time_text(version.seconds), short_id(version.build)
        say(f"{when}  build {build}  {file.text}  {_content(version)}".rstrip())


def _content(version: file_versions.Version) -> str:
    """Return the short id of a version's file; empty for a directory."""
    if version.node is None:
        return "deleted"
    if version.node.is_directory:
        return ""
    return short_id(version.node.oid)
