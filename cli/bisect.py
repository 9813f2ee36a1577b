"""`prov bisect`: start, continue, log, replay, reset."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .build import Sandbox
from .context import JsonOption, StoreOption, open_store, sandbox_here
from .output import count_text, note, say, say_json

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from prov.bisect.log import Log
    from prov.bisect.search import Verdict
    from prov.bisect.session import Answer
    from prov.scheduler.summary import Progress
    from prov.store.repository import Store
    from prov.tasks.job import Result

LOG = "bisect"
"""The log's name in the store."""

bisect = typer.Typer(
    help=(
        "Find the change that broke something, over recorded builds; nothing is built that has been"
        " built.\n\nExample: prov bisect start release latest -- ./boots.sh"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
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


class _Shown:
    """Tells on standard error how a bisection goes on."""

    def __init__(self) -> None:
        self._open: AbstractContextManager[Progress] | None = None

    def trying(self, what: str, left: int) -> None:
        note(f"prov: trying {what}; about {count_text(left, 'step')} left")

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None:
        note(f"prov: {what}: {verdict}{' (not every time)' if flaky else ''}")

    def progress(self) -> Progress:
        from .progress import make_progress

        self._open = make_progress()
        return self._open.__enter__()

    def failed(self, result: Result) -> None:
        self.built()
        note(f"prov: {result.key}: {result.problem}")
        for line in result.log_tail[-5:]:
            note(f"    {line}")

    def built(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None


@bisect.command("start")
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
    from prov.bisect.candidates import compared
    from prov.bisect.command import check_command
    from prov.bisect.log import Question
    from prov.history.builds import find_build
    from prov.text import name_text

    opened = open_store(store)
    if not command:
        raise typer.BadParameter(
            "a command is missing; as in prov bisect start GOOD BAD -- ./test.sh"
        )
    log = _new_log(opened)
    builds = [find_build(opened, name) for name in (good, bad)]
    targets = builds[1].facts().get("targets", "").split()
    if not of and len(targets) != 1:
        example = f"--of {name_text(targets[0])}@output" if targets else "--of app:image@output"
        raise typer.BadParameter(
            f"build {bad} has {len(targets)} targets; name one, as in {example}"
        )
    ids = [build.commit.hex() for build in builds]
    name = of or f"{targets[0]}@output"
    name = name if "@" in name else f"{name}@output"
    question = Question(ids[0], ids[1], name, tuple(command), repeat, not no_combination)
    check_command(command)
    compared(opened, question)  # nothing is begun that can't be answered
    log.begin(question)
    _go_on(opened, log, sandbox, json=json)


@bisect.command("continue")
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
    from prov.bisect.log import Log

    opened = open_store(store)
    log = Log(opened.path / LOG)
    _go_on(opened, log, sandbox, source=log, command=command, json=json)


@bisect.command("log")
def show_log(store: StoreOption = None) -> None:
    """Print the question and the verdicts so far, as `replay` reads them."""
    from prov.bisect.log import Log

    for line in Log(open_store(store).path / LOG).lines():
        say(line)


@bisect.command("replay")
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
    from prov.bisect.candidates import compared
    from prov.bisect.log import Log

    opened = open_store(store)
    log, other = _new_log(opened), Log(file)
    if not file.exists():
        raise typer.BadParameter(f"there is no {file}")
    compared(opened, other.read().question)
    _go_on(opened, log, sandbox, source=other, command=command, json=json)


@bisect.command("reset")
def reset(store: StoreOption = None) -> None:
    """Drop the bisection that is going on, with its verdicts."""
    opened = open_store(store)
    with _alone(opened):
        (opened.path / LOG).unlink(missing_ok=True)


def _take_over(log: Log, source: Log, command: list[str] | None) -> None:
    """Begin or go on with what `source` says, if the user agrees to run its command.

    Raises ProvError where that is not known: a store or a file from another person does not decide
    what is run here.
    """
    from prov.errors import ProvError
    from prov.text import name_text

    said = source.read()
    text = name_text(shlex.join(said.question.command))
    if command and tuple(command) != said.question.command:
        hint = "pass the same command, or `prov bisect reset` and start again"
        raise ProvError(f"the recorded command differs: {text}", hint=hint)
    if not command and not log.is_own(said):
        problem = "you did not begin this bisection in this store"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ProvError(
                f"{problem}; its command is: {text}",
                hint=f"to run it with your rights, add `-- {text}`",
            )
        note(f"prov: {problem}; its command runs with your rights:")
        note(f"    {text}")
        typer.confirm("Run it?", abort=True, err=True)
    log.copy(source)


def _new_log(store: Store) -> Log:
    from prov.bisect.log import Log
    from prov.errors import ProvError

    log = Log(store.path / LOG)
    if log.path.exists():
        raise ProvError(
            "a bisection is going on",
            hint="`prov bisect continue`, or `prov bisect reset` to drop it",
        )
    return log


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    from prov.errors import ProvError
    from prov.files import try_locked

    with try_locked(store.cache / "locks" / LOG) as free:
        if not free:
            raise ProvError(
                "another process is bisecting in this store", hint="wait for it, or end it"
            )
        yield


def _go_on(
    store: Store,
    log: Log,
    sandbox: str,
    *,
    source: Log | None = None,
    command: list[str] | None = None,
    json: bool,
) -> None:
    """Bisect to the end and print the answer; what `source` says, where it is not this user's own
    new question.
    """
    with _alone(store):
        if source is not None:
            _take_over(log, source, command)
        try:
            answer = _answer(store, log, sandbox)
        except KeyboardInterrupt:
            note("prov: `prov bisect continue` goes on with the verdicts so far")
            raise
        _print(store, answer, json=json)
        done = log.path.with_name(f"{LOG}.done")
        os.replace(log.path, done)
    note(f"prov: the log is kept as {done}")


def _answer(store: Store, log: Log, sandbox: str) -> Answer:
    from prov.bisect.command import run_command
    from prov.bisect.session import Bisect
    from prov.history.builds import find_build
    from prov.replay.combination import Workshop
    from prov.replay.scratch import aside
    from prov.scheduler.summary import RunOptions
    from prov.sysroot.compose import sysroots_of
    from prov.tasks.sandbox import bubblewrap

    was = find_build(store, log.read().question.bad).facts().get("sandbox", "")
    here = "none" if was == sandbox_here() == "none" else "auto"  # not for the record alone to say
    program = bubblewrap(sandbox or here)
    with aside(
        store, partial(sysroots_of, store), program, search_path=os.environ.get("PATH", "")
    ) as scratch:
        composer = scratch.sysroots(program is not None)
        workshop = Workshop(
            store, composer, program, scratch.toolchains, scratch.folder, RunOptions()
        )
        return Bisect(store, log, workshop, _Shown(), run_command).run()


def _print(store: Store, answer: Answer, *, json: bool) -> None:
    from prov.bisect.description import commits_of, describe, describe_cause
    from prov.history.inputs import difference_text

    if json:
        groups = {
            name: [
                {
                    "kind": each.change.kind,
                    "name": each.change.name,
                    "tasks": list(each.tasks),
                    "commits": commits_of(store, each),
                    "diff": difference_text(store.objects, each.change),
                }
                for each in found
            ]
            for name, found in (("causes", answer.causes), ("earlier", answer.earlier))
        }
        say_json(
            "bisect",
            good=answer.good.hex(),
            bad=answer.bad.hex(),
            between=answer.between,
            checkouts=answer.tried,
            flaky=answer.flaky,
            sentence=describe(store, answer),
            **groups,
        )
        return
    for each in (*answer.causes, *answer.earlier):
        say(describe_cause(store, each))
        for line in difference_text(store.objects, each.change):
            say(f"  {line}")
    if answer.flaky:
        say("the command did not always say the same")
    say(describe(store, answer))
