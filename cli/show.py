"""`prov show`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from prov.errors import Elsewhere
from prov.history import names, show
from prov.store import repository
from prov.wrapped import version_control

from .context import JsonOption, StoreOption, open_store, plain_name
from .fetching import fetching
from .output import RED, YELLOW, say, say_coloured, say_json, say_text
from .pager import paged


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[BUILD/]RECIPE:TASK",
            help="A run: zlib:compile for the latest, zlib:compile~1, or a tag.",
            callback=plain_name,
        ),
    ],
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show a run's inputs, output, environment and log.

    Control characters are escaped, except with --json.

    Example:

        prov show zlib:compile
    """
    opened = open_store(store)
    shown = show.show(opened, fetching(opened, lambda: _find_run(opened, name)))
    if json:
        replaced = {"run": shown.run.table(), "output": shown.output or None}
        say_json("run", **(asdict(shown) | replaced))
        return
    with paged():
        _print(shown)


def _print(shown: show.Shown) -> None:
    result = shown.facts.get("result", "")
    say_coloured([(f"{shown.run.key}  ", ""), (result, "" if result == "ok" else RED)])
    say_coloured([("tag          ", ""), (shown.run.tag, YELLOW)])
    say(f"commit       {shown.run.commit.hex()}")
    output = shown.output or "-"
    say(f"output       {output}  {' '.join(shown.output_paths)}")
    revision = (version_control.COMMIT, version_control.DIRTY, version_control.PROBLEM)
    for fact in ("seconds", "sandbox", "worker", "workdir", "incremental", *revision):
        if fact in shown.facts:
            say(f"{fact:12} {shown.facts[fact]}")
    inputs = [f"{path}:\n{_indented(text)}" for path, text in shown.inputs.items()]
    _print_section("inputs", "".join(inputs))
    _print_section("environment", shown.environment)
    _print_section("log", shown.log)


def _find_run(store: repository.Store, name: str) -> names.RunName:
    """Return the run with a name; for a run on another machine, its record."""
    try:
        return names.find_run(store, name)
    except Elsewhere as error:
        return names.record_elsewhere(store, error)


def _print_section(title: str, text: str) -> None:
    say_text(f"\n{title}:\n{_indented(text)}".rstrip())


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
