"""`prov log`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from prov.errors import NameUnknown
from prov.history import file_names, file_versions, names
from prov.records.keys import TaskKey
from prov.store import repository
from prov.text import nearest

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .output import say, say_json, short_id, time_text


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[RECIPE[:TASK]|PATH]", help="Whose runs, or which file.", callback=plain_name
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")
    ] = 50,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List recorded runs, newest first, with the tags to give to git; of a path, the builds that
    changed it.

    Examples: prov log zlib:compile; prov log usr/bin/hello
    """
    opened = open_store(store)
    if "/" in name:
        _log_path(opened, name, limit, json=json)
    else:
        _log_runs(opened, name, limit, json=json)


def _log_runs(store: repository.Store, name: str, limit: int, *, json: bool) -> None:
    key = TaskKey(name)
    runs = names.runs(store, key.recipe, key.task)
    if name and not runs:
        tasks = names.recorded_tasks(store)
        recipes = sorted({task.recipe for task in tasks})
        raise NameUnknown(f"no run of {name} is recorded", hint=nearest(name, [*tasks, *recipes]))
    runs = names.newest(store, runs, limit)
    builds = {tag: build.commit.hex() for tag, build in names.builds_of(store, runs).items()}
    if json:
        rows = [run.table() | {"build": builds.get(run.tag)} for run in runs]
        say_json("log", runs=rows)
        return
    for run in runs:
        where = f"build {builds[run.tag][:12]}" if run.tag in builds else "in no build"
        failure = "FAILED  " if run.failed else ""
        say(f"{time_text(run.seconds)}  {where}  {run.key}  {failure}{run.tag}")


def _log_path(store: repository.Store, name: str, limit: int, *, json: bool) -> None:
    file = file_names.find_file(store, name, work=work_here())
    versions = list(islice(file_versions.versions(store, file), limit))
    if json:
        rows = [
            {
                "build": version.build.hex(),
                "seconds": version.seconds,
                "blob": version.node.oid.hex() if version.node else None,
            }
            for version in versions
        ]
        say_json("log of a path", file=file.text, versions=rows)
        return
    for version in versions:
        when, build = time_text(version.seconds), short_id(version.build)
        say(f"{when}  build {build}  {file.text}  {_content(version)}".rstrip())


def _content(version: file_versions.Version) -> str:
    """Return the short id of a version's file, nothing for a directory."""
    if version.node is None:
        return "not there"
    if version.node.is_directory:
        return ""
    return short_id(version.node.oid)
