"""`prov why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .context import (
    BuildOption,
    JsonOption,
    SetOption,
    StoreOption,
    open_store,
    plain_name,
    session_here,
)
from .elsewhere import fetching
from .output import say, say_json

if TYPE_CHECKING:
    from prov.history.causes import Cause
    from prov.history.why import Why


def why(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE:TASK", help="A task, or the tag of a run.", callback=plain_name
        ),
    ],
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="BUILD|TAG|STORE",
            help="What to compare with; a folder is a store.",
        ),
    ] = "",
    build: BuildOption = "",
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Tell why a task would run now, or why it ran: what is different, down to the first cause.

    Example: prov why demo-image:image
    """
    from prov.history.why import why as ask

    opened = open_store(store)
    session = None if build else session_here(opened, settings)
    answer = fetching(
        opened, lambda: ask(opened, name, session=session, against=against, build=build)
    )
    if json:
        say_json("why", **_table(answer))
        return
    _print(answer)


def _print(answer: Why) -> None:
    say(f"{answer.key} {answer.verdict}")
    if not answer.old:
        say("  there is nothing before it to compare with")
    elif not answer.causes:
        say(f"  its inputs are those of {answer.old}")
    else:
        say(f"  against {answer.old}:")
    for cause, others in _grouped(answer.causes):
        _print_cause(answer, cause, others)
    if answer.nearest is not None:
        say(f"nearest recorded inputs: {answer.nearest.task_hash.hex()}, different in")
        for title in _nearest_titles(answer):
            say(f"  {title}")


def _grouped(causes: tuple[Cause, ...]) -> list[tuple[Cause, list[str]]]:
    """Return each cause with the tasks that have just the same changes: a flag, or a tool, is one
    that many have.
    """
    groups: dict[object, tuple[Cause, list[str]]] = {}
    for cause in causes:
        shared = (
            cause.changes if cause.changes and cause.changes[0].kind != "same inputs" else cause.key
        )
        if shared in groups:
            groups[shared][1].append(cause.key)
        else:
            groups[shared] = cause, []
    return list(groups.values())


def _print_cause(answer: Why, cause: Cause, others: list[str]) -> None:
    from prov.text import few

    version = answer.versions.get(cause.key.partition(":")[0])
    say(f"  {cause.key}{f'  (version {version[0]} -> {version[1]})' if version else ''}")
    for change in cause.changes:
        same = change.kind == "same inputs"
        say(f"    {'gave another output for the same inputs' if same else change.title}")
        for line in answer.differences[change]:
            say(f"      {line}")
    if not cause.changes:
        say("    what it was made from is not recorded here")
    if len(cause.chain) > 1:
        say(f"    by way of {' -> '.join(cause.chain[1:])}")
    if others:
        say(f"    and the same in {few(others)}")


def _nearest_titles(answer: Why) -> list[str]:
    near = answer.nearest
    assert near is not None
    return [
        *(change.title for change in near.own),
        *(f"{kind} {key}, which is another" for kind, key in near.edges),
    ]


def _table(answer: Why) -> dict[str, Any]:
    near = answer.nearest
    return {
        "task": answer.key,
        "verdict": answer.verdict,
        "against": answer.old or None,
        "causes": [
            {
                "task": cause.key,
                "version": answer.versions.get(cause.key.partition(":")[0]),
                "changes": [
                    {
                        "kind": change.kind,
                        "name": change.name,
                        "diff": list(answer.differences[change]),
                    }
                    for change in cause.changes
                ],
                "chain": list(cause.chain),
            }
            for cause in answer.causes
        ],
        "nearest": {"task_hash": near.task_hash.hex(), "different": _nearest_titles(answer)}
        if near
        else None,
    }
