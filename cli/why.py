"""`prov why`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prov.history import causes, why
from prov.records.keys import TaskKey
from prov.text import few

from .context import (
    BuildOption,
    JsonOption,
    SetOption,
    StoreOption,
    open_store,
    plain_name,
    session_here,
)
from .fetching import fetching
from .output import say, say_json


def command(
    name: Annotated[
        str,
        typer.Argument(metavar="RECIPE:TASK", help="A task, or a run.", callback=plain_name),
    ],
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="BUILD|TAG|STORE",
            help="Compare with this build or run, or with the same task in another store.",
        ),
    ] = "",
    build: BuildOption = "",
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Explain why a task ran, or would run.

    prov compares the task's inputs with those of its last run, and follows changed dependencies
    down to the root causes.

    Examples:

        prov why demo-image:image
        prov why zlib:compile --against release-1.0
    """
    opened = open_store(store)
    session = None if build else session_here(opened, settings)

    def ask() -> why.Why:
        return why.why(opened, name, session=session, against=against, build=build)

    answer = fetching(opened, ask)
    if json:
        say_json("why", **_table(answer))
    else:
        _print(answer)


def _print(answer: why.Why) -> None:
    say(f"{answer.key} {answer.verdict}")
    if not answer.old:
        say("  no earlier run to compare with")
    elif not answer.causes:
        say(f"  inputs unchanged since {answer.old}")
    else:
        say(f"  compared with {answer.old}:")
    for cause, others in _grouped(answer.causes):
        _print_cause(answer, cause, others)
    if answer.nearest is not None:
        say(f"nearest recorded inputs: {answer.nearest.task_hash.hex()}; they differ in")
        for title in _titles(answer.nearest):
            say(f"  {title}")


def _grouped(chain: tuple[causes.Cause, ...]) -> list[tuple[causes.Cause, list[str]]]:
    """Return each cause with the other tasks that have the same changes.

    Many tasks can share one changed flag or tool.
    """
    groups: dict[object, tuple[causes.Cause, list[str]]] = {}
    for cause in chain:
        is_shared = cause.changes and cause.changes[0].kind != causes.SAME_INPUTS
        identity = cause.changes if is_shared else cause.key
        if identity in groups:
            groups[identity][1].append(cause.key)
        else:
            groups[identity] = cause, []
    return list(groups.values())


def _print_cause(answer: why.Why, cause: causes.Cause, others: list[str]) -> None:
    version = answer.versions.get(TaskKey(cause.key).recipe)
    versions = f"  (version {version[0]} -> {version[1]})" if version else ""
    say(f"  {cause.key}{versions}")
    for change in cause.changes:
        if change.kind == causes.SAME_INPUTS:
            say("    produced a different output from identical inputs")
        else:
            say(f"    {change.title}")
        for line in answer.differences[change]:
            say(f"      {line}")
    if not cause.changes:
        say("    its inputs are not recorded in this store")
    if len(cause.chain) > 1:
        say(f"    through {' -> '.join(cause.chain[1:])}")
    if others:
        say(f"    also in {few(others)}")


def _titles(nearest: why.Nearest) -> list[str]:
    own = [change.title for change in nearest.own]
    return own + [f"{kind} {key}" for kind, key in nearest.edges]


def _table(answer: why.Why) -> dict[str, Any]:
    nearest = None
    if answer.nearest:
        nearest = {
            "task_hash": answer.nearest.task_hash.hex(),
            "different": _titles(answer.nearest),
        }
    return {
        "task": answer.key,
        "verdict": answer.verdict,
        "against": answer.old or None,
        "causes": [_cause_table(answer, cause) for cause in answer.causes],
        "nearest": nearest,
    }


def _cause_table(answer: why.Why, cause: causes.Cause) -> dict[str, Any]:
    changes = [
        {"kind": change.kind, "name": change.name, "diff": list(answer.differences[change])}
        for change in cause.changes
    ]
    return {
        "task": cause.key,
        "version": answer.versions.get(TaskKey(cause.key).recipe),
        "changes": changes,
        "chain": list(cause.chain),
    }
