"""The bisection of `prov bisect`: one at a time in a store, with a log."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import typer

from prov import files
from prov.bisect import command as commands
from prov.bisect import description, search, session
from prov.bisect import log as logs
from prov.errors import ProvError
from prov.history import builds, causes, inputs
from prov.replay import combination
from prov.replay import scratch as scratches
from prov.scheduler import summary
from prov.store import repository
from prov.sysroot import compose
from prov.tasks import job
from prov.tasks import sandbox as sandboxes
from prov.text import count_text, name_text

from .context import sandbox_here
from .output import note, say, say_json
from .progress import make_progress, shown_progress

LOG = "bisect"
"""The log's name in the store."""
SHOWN_LINES = 5
"""Number of printed lines of a failed task's log."""


def recorded_log(store: repository.Store) -> logs.Log:
    """Return the log of the current bisection."""
    return logs.Log(store.path / LOG)


def new_log(store: repository.Store) -> logs.Log:
    """Return the log of a new bisection. Raises ProvError if one exists."""
    log = recorded_log(store)
    if log.path.exists():
        raise ProvError(
            "a bisection is in progress",
            hint="run `prov bisect continue`, or `prov bisect reset` to delete it",
        )
    return log


@contextmanager
def alone(store: repository.Store) -> Iterator[None]:
    """Hold the lock of a store's bisection. Raises ProvError if another process holds it."""
    with files.try_locked(store.cache / "locks" / LOG) as free:
        if not free:
            raise ProvError(
                "another process is bisecting in this store",
                hint="wait until it ends, or stop it",
            )
        yield


def bisect_to_end(
    store: repository.Store,
    log: logs.Log,
    sandbox: str,
    *,
    source: logs.Log | None = None,
    command: list[str] | None = None,
    json: bool,
) -> None:
    """Bisect to the end and print the answer.

    `source` is a log from an earlier process or a file. Its command runs only if this user started
    it in this store, approves it now, or passed the same `command`.
    """
    with alone(store):
        if source is not None:
            _take_over(log, source, command)
        try:
            with shown_progress():
                answer = _answer(store, log, sandbox)
        except KeyboardInterrupt:
            note("prov: run `prov bisect continue` to continue with the verdicts so far")
            raise
        if json:
            _print_json(store, answer)
        else:
            _print(store, answer)
        finished = log.path.with_name(f"{LOG}.done")
        os.replace(log.path, finished)
    note(f"prov: wrote the log to {finished}")


def _take_over(log: logs.Log, source: logs.Log, command: list[str] | None) -> None:
    """Copy `source` to `log` if the user approves its command.

    Raises ProvError without approval: another user's store or file must not decide which command
    runs here.
    """
    bisection = source.read()
    text = name_text(shlex.join(bisection.question.command))
    if command and tuple(command) != bisection.question.command:
        hint = "pass the same command, or run `prov bisect reset` and start again"
        raise ProvError(f"the recorded command differs: {text}", hint=hint)
    if not command and not log.is_own(bisection):
        _confirm(text)
    log.copy(source)


def _confirm(command: str) -> None:
    """Ask whether to run a recorded command.

    Raises Abort if the user declines, and ProvError without a terminal.
    """
    problem = "you did not start this bisection in this store"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ProvError(
            f"{problem}; its command is: {command}",
            hint=f"to run it with your rights, append `-- {command}`",
        )
    note(f"prov: {problem}; its command runs with your rights:")
    note(f"    {command}")
    typer.confirm("Run it?", abort=True, err=True)


class _Progress:
    """Prints the progress of a bisection to standard error."""

    def __init__(self) -> None:
        self._build: AbstractContextManager[summary.Progress] | None = None

    def trying(self, what: str, left: int) -> None:
        note(f"prov: trying {what}; about {count_text(left, 'step')} left")

    def verdict(self, what: str, verdict: search.Verdict, *, flaky: bool) -> None:
        remark = " (not every time)" if flaky else ""
        note(f"prov: {what}: {verdict}{remark}")

    def progress(self) -> summary.Progress:
        self._build = make_progress()
        return self._build.__enter__()

    def failed(self, result: job.Result) -> None:
        self.built()
        note(f"prov: {result.key}: {result.problem}")
        for line in result.log_tail[-SHOWN_LINES:]:
            note(f"    {line}")

    def built(self) -> None:
        if self._build is not None:
            self._build.__exit__(None, None, None)
            self._build = None


def _answer(store: repository.Store, log: logs.Log, sandbox: str) -> session.Answer:
    program = sandboxes.bubblewrap(sandbox or _recorded_sandbox(store, log))
    with scratches.open_scratch(
        store, partial(compose.sysroots_of, store), program, search_path=os.environ.get("PATH", "")
    ) as scratch:
        composer = scratch.sysroots(program is not None)
        workshop = combination.Workshop(
            store, composer, program, scratch.toolchains, scratch.folder, summary.RunOptions()
        )
        bisect = session.Bisect(store, log, workshop, _Progress(), commands.run_command)
        return bisect.run()


def _recorded_sandbox(store: repository.Store, log: logs.Log) -> str:
    """Return `none` if both the bad build and prov.toml have it, otherwise `auto`.

    The record alone must not disable the sandbox: another user may have written it.
    """
    bad = builds.find_build(store, log.read().question.bad)
    recorded = bad.facts().get("sandbox", "")
    return "none" if recorded == sandbox_here() == "none" else "auto"


def _print_json(store: repository.Store, answer: session.Answer) -> None:
    say_json(
        "bisect",
        good=answer.good.hex(),
        bad=answer.bad.hex(),
        between=answer.between,
        checkouts=answer.tried,
        flaky=answer.flaky,
        sentence=description.describe(store, answer),
        causes=_table(store, answer.causes),
        earlier=_table(store, answer.earlier),
    )


def _table(store: repository.Store, groups: Iterable[causes.CauseGroup]) -> list[dict[str, Any]]:
    return [
        {
            "kind": cause.change.kind,
            "name": cause.change.name,
            "tasks": list(cause.tasks),
            "commits": description.commits_of(store, cause),
            "diff": inputs.difference_text(store.objects, cause.change),
        }
        for cause in groups
    ]


def _print(store: repository.Store, answer: session.Answer) -> None:
    for cause in (*answer.causes, *answer.earlier):
        say(description.describe_cause(store, cause))
        for line in inputs.difference_text(store.objects, cause.change):
            say(f"  {line}")
    if answer.flaky:
        say("note: the command's verdict was not the same each time")
    say(description.describe(store, answer))
