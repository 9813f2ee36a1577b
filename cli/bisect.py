"""`prov bisect`: start, continue, log, replay, reset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prov.bisect import candidates
from prov.bisect import command as commands
from prov.bisect import log as logs
from prov.history import builds
from prov.records import build_list
from prov.text import name_text

from .bisection import alone, bisect_to_end, new_log, recorded_log
from .build import Sandbox
from .context import JsonOption, StoreOption, open_store
from .output import say

group = typer.Typer(
    help=(
        "Find the change that broke something, over recorded builds; nothing is built that has been"
        " built.\n\nExample: prov bisect start release latest -- ./boots.sh"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Approved = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- COMMAND…]", help="The recorded command, if another user or store recorded it."
    ),
]
Alone = Annotated[
    bool,
    typer.Option(
        "--no-combination", help="Don't ask whether it is bad only together with an earlier change."
    ),
]


@group.command("start")
def start(
    good: Annotated[str, typer.Argument(metavar="GOOD", help="A build that is good.")],
    bad: Annotated[str, typer.Argument(metavar="BAD", help="A later one that is bad.")],
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND…", help="Gets the directory in place of {}, or last."),
    ],
    of: Annotated[
        str,
        typer.Option(
            "--of", metavar="NAME", help="What it gets (app:image@output); else the target."
        ),
    ] = "",
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Run the command so often; bad once is bad.")
    ] = 1,
    no_combination: Alone = False,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Begin, and go on to the end. The command exits with 0 for good, 125 for "can't be told", else
    bad.

    After ^C `prov bisect continue` goes on. Example: prov bisect start release latest -- ./boots.sh
    """
    opened = open_store(store)
    if not command:
        raise typer.BadParameter(
            "a command is missing; as in prov bisect start GOOD BAD -- ./test.sh"
        )
    log = new_log(opened)
    good_build, bad_build = builds.find_build(opened, good), builds.find_build(opened, bad)
    question = logs.Question(
        good_build.commit.hex(),
        bad_build.commit.hex(),
        _subject(of, bad_build, bad),
        tuple(command),
        repeat,
        not no_combination,
    )
    commands.check_command(command)
    candidates.candidates_of(opened, question)  # nothing is begun that can't be answered
    log.begin(question)
    bisect_to_end(opened, log, sandbox, json=json)


def _subject(option: str, build: build_list.BuildList, name: str) -> str:
    """Return what the command gets: of --of, or the output of the build's only target."""
    if option:
        return option if "@" in option else f"{option}@output"
    targets = build.facts().get("targets", "").split()
    if len(targets) != 1:
        target = name_text(targets[0]) if targets else "app:image"
        raise typer.BadParameter(
            f"build {name} has {len(targets)} targets; name one, as in --of {target}@output"
        )
    return f"{targets[0]}@output"


@group.command("continue")
def go_on(
    command: Approved = None,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Go on with a bisection that was interrupted.

    If you did not begin it in this store, prov shows its command and asks before running it.
    Without a terminal, pass the same command.

    Example: prov bisect continue -- ./boots.sh
    """
    opened = open_store(store)
    log = recorded_log(opened)
    bisect_to_end(opened, log, sandbox, source=log, command=command, json=json)


@group.command("log")
def show_log(store: StoreOption = None) -> None:
    """Print the question and the verdicts so far, as `replay` reads them."""
    for line in recorded_log(open_store(store)).lines():
        say(line)


@group.command("replay")
def replay(
    file: Annotated[
        Path, typer.Argument(help="What `prov bisect log` printed; verdicts may be edited.")
    ],
    command: Approved = None,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Begin with the question and the verdicts in a file, and go on to the end.

    If you did not begin that bisection in this store, prov shows its command and asks before
    running it. Without a terminal, pass the same command.

    Example: prov bisect replay log.txt -- ./boots.sh
    """
    opened = open_store(store)
    log, source = new_log(opened), logs.Log(file)
    if not file.exists():
        raise typer.BadParameter(f"there is no {file}")
    candidates.candidates_of(opened, source.read().question)
    bisect_to_end(opened, log, sandbox, source=source, command=command, json=json)


@group.command("reset")
def reset(store: StoreOption = None) -> None:
    """Drop the bisection that is going on, with its verdicts."""
    opened = open_store(store)
    with alone(opened):
        recorded_log(opened).path.unlink(missing_ok=True)
