"""`prov bisect`: start, commits, continue, log, replay, reset."""

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
from .commit_bisection import search_commits
from .context import JsonOption, StoreOption, open_store
from .help import CommandGroup
from .output import say

group = CommandGroup(
    """Find the change that broke something.

    prov checks out recorded builds, and combinations of their inputs, and runs your command on
    them. It builds only combinations that no build had.

    Example:

        prov bisect start release-1.0 latest -- ./boots.sh
    """
)
Approved = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- COMMAND...]", help="The recorded command, to approve it without a prompt."
    ),
]
Alone = Annotated[
    bool,
    typer.Option(
        "--no-combination", help="Do not search for an earlier change that is also required."
    ),
]


@group.command("start")
def start(
    good: Annotated[str, typer.Argument(metavar="GOOD", help="A good build.")],
    bad: Annotated[str, typer.Argument(metavar="BAD", help="A later, bad build.")],
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND",
            help="The test. prov replaces {} with the directory, or appends it.",
        ),
    ],
    of: Annotated[
        str,
        typer.Option(
            "--of", metavar="NAME", help="Check this out (app:image@output). Default: the target."
        ),
    ] = "",
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat", min=1, metavar="N", help="Run the test N times; one failure means bad."
        ),
    ] = 1,
    no_combination: Alone = False,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Start a bisection and run it to the end.

    The command exits with 0 for good, 125 to skip, and any other status for bad. After ^C, run
    `prov bisect continue`.

    Example:

        prov bisect start release-1.0 latest -- ./boots.sh
    """
    opened = open_store(store)
    check_command_given(command)
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
    candidates.candidates_of(opened, question)  # raises before the log exists
    log.begin(question)
    bisect_to_end(opened, log, sandbox, json=json)


def check_command_given(command: list[str]) -> None:
    """Raise BadParameter or ProvError unless a test is given that can be run."""
    if not command:
        raise typer.BadParameter("no command: write prov bisect start GOOD BAD -- ./test.sh")
    commands.check_command(command)


def _subject(option: str, build: build_list.BuildList, name: str) -> str:
    """Return the name to check out: --of, or the output of the build's only target."""
    if option:
        return option if "@" in option else f"{option}@output"
    targets = build.facts().get("targets", "").split()
    if len(targets) != 1:
        target = name_text(targets[0]) if targets else "app:image"
        raise typer.BadParameter(
            f"build {name} has {len(targets)} targets: name one with --of {target}@output"
        )
    return f"{targets[0]}@output"


@group.command("commits")
def commits(
    good: Annotated[str, typer.Argument(metavar="GOOD", help="A good commit.")],
    bad: Annotated[str, typer.Argument(metavar="BAD", help="A later, bad commit.")],
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND",
            help="The test. prov replaces {} with the directory, or appends it.",
        ),
    ],
    steps: Annotated[
        str,
        typer.Option(
            "--steps", metavar="BUILD", help="Repeat this build's steps. Default: the latest build."
        ),
    ] = "latest",
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Find the git commit that broke something, by repeating recorded steps.

    git chooses commits between GOOD and BAD. For each, prov repeats the steps that `prov run`
    recorded, in a clone, and runs your test. A step whose inputs are recorded does not run again. A
    commit on which a step fails is skipped. The steps have no network, and only the clone is
    writable.

    Example:

        prov bisect commits v1.0 main --steps ci-42 -- ./test.sh
    """
    opened = open_store(store)
    check_command_given(command)
    search_commits(opened, good, bad, steps, command, sandbox, json=json)


@group.command("continue")
def go_on(
    command: Approved = None,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Continue an interrupted bisection.

    If another user or store started it, prov shows its command and asks before running it. Without
    a terminal, pass the same command.

    Example:

        prov bisect continue -- ./boots.sh
    """
    opened = open_store(store)
    log = recorded_log(opened)
    bisect_to_end(opened, log, sandbox, source=log, command=command, json=json)


@group.command("log")
def show_log(store: StoreOption = None) -> None:
    """Print the question and the verdicts so far.

    `prov bisect replay` reads this format.

    Example:

        prov bisect log > log.txt
    """
    for line in recorded_log(open_store(store)).lines():
        say(line)


@group.command("replay")
def replay(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The output of `prov bisect log`, which you may edit."),
    ],
    command: Approved = None,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """Run a bisection from a file to the end.

    If another user or store started it, prov shows its command and asks before running it. Without
    a terminal, pass the same command.

    Example:

        prov bisect replay log.txt -- ./boots.sh
    """
    opened = open_store(store)
    log, source = new_log(opened), logs.Log(file)
    if not file.exists():
        raise typer.BadParameter(f"{file} does not exist")
    candidates.candidates_of(opened, source.read().question)
    bisect_to_end(opened, log, sandbox, source=source, command=command, json=json)


@group.command("reset")
def reset(store: StoreOption = None) -> None:
    """Delete the current bisection and its verdicts.

    Example:

        prov bisect reset
    """
    opened = open_store(store)
    with alone(opened):
        recorded_log(opened).path.unlink(missing_ok=True)
