"""`prov log`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .output import say, say_json, time_text

if TYPE_CHECKING:
    from prov.history.files import Version


def log(
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
    from prov.errors import NameUnknown
    from prov.history.names import builds_of, newest, recorded_tasks, runs
    from prov.text import nearest

    opened = open_store(store)
    if "/" in name:
        _log_path(name, limit, json=json, store=store)
        return
    recipe, _, task = name.partition(":")
    found = runs(opened, recipe, task)
    if name and not found:
        known = recorded_tasks(opened)
        known += sorted({key.partition(":")[0] for key in known})
        raise NameUnknown(f"no run of {name} is recorded", hint=nearest(name, known))
    found = newest(opened, found, limit)
    builds = {tag: build.commit.hex() for tag, build in builds_of(opened, found).items()}
    if json:
        fields = ("tag", "recipe", "task", "task_hash", "number", "failed", "seconds")
        rows = [
            {field: getattr(run, field) for field in fields} | {"build": builds.get(run.tag)}
            for run in found
        ]
        say_json("log", runs=rows)
        return
    for run in found:
        where = f"build {builds[run.tag][:12]}" if run.tag in builds else "in no build"
        say(
            f"{time_text(run.seconds)}  {where}  {run.key}{'  FAILED' if run.failed else ''} "
            f" {run.tag}"
        )


def _log_path(name: str, limit: int, *, json: bool, store: StoreOption) -> None:
    from prov.history.files import find_file, versions

    opened = open_store(store)
    file = find_file(opened, name, work=work_here())
    found = list(islice(versions(opened, file), limit))
    if json:
        rows = [
            {
                "build": each.build.hex(),
                "seconds": each.seconds,
                "blob": each.node.oid.hex() if each.node else None,
            }
            for each in found
        ]
        say_json("log of a path", file=file.text, versions=rows)
        return
    for each in found:
        build = each.build.hex()[:12]
        say(f"{time_text(each.seconds)}  build {build}  {file.text}  {_content(each)}".rstrip())


def _content(version: Version) -> str:
    """Return the short id of a version's file, nothing for a directory."""
    if version.node is None:
        return "not there"
    if version.node.is_directory:
        return ""
    return version.node.oid.hex()[:12]
