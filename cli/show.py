"""`prov show`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store, plain_name
from .elsewhere import fetching
from .output import say, say_json, say_text


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[BUILD/]RECIPE:TASK",
            help="A task, its newest run; or a run's tag.",
            callback=plain_name,
        ),
    ],
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show a run: inputs, output, environment, times, log.

    Control characters are shown escaped; --json has them as they were.

    Example: prov show zlib:compile
    """
    from prov.errors import Elsewhere
    from prov.history.names import RunName, find_run, record_elsewhere
    from prov.history.show import show as read

    opened = open_store(store)

    def find() -> RunName:
        try:
            return find_run(opened, name)
        except Elsewhere as error:
            return record_elsewhere(opened, error)

    shown = read(opened, fetching(opened, find))
    if json:
        content = asdict(shown)
        content["run"].pop("commit")
        say_json("run", **content)
        return
    say(f"{shown.run.key}  {shown.facts.get('result', '')}")
    say(f"tag          {shown.run.tag}")
    say(f"commit       {shown.run.commit.hex()}")
    say(f"output       {shown.output or '-'}  {' '.join(shown.output_paths)}")
    for fact in ("seconds", "sandbox", "workdir", "incremental"):
        if fact in shown.facts:
            say(f"{fact:12} {shown.facts[fact]}")
    for title, text in (
        ("inputs", "".join(f"{path}:\n{_indented(value)}" for path, value in shown.inputs.items())),
        ("environment", shown.environment),
        ("log", shown.log),
    ):
        say_text(f"\n{title}:\n{_indented(text)}".rstrip())


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
