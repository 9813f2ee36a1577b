"""`prov run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.store import repository
from prov.wrapped import run
from prov.wrapped import step as steps

from .capture import AsOption, GitignoreOption, LabelOption, OutputOption, join_packs, named_step
from .context import StoreOption, create_store
from .output import note, pass_on
from .progress import shown_progress


def command(
    name: AsOption,
    argv: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="The command to run.")],
    directory: Annotated[
        Path,
        typer.Option(
            "-C", metavar="DIR", help="Run in DIR and record it. Default: the current folder."
        ),
    ] = Path(),
    build: LabelOption = "",
    outputs: OutputOption = None,
    gitignore: GitignoreOption = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Record which files the command reads. Needs strace."),
    ] = False,
    cached: Annotated[
        bool,
        typer.Option(
            "--cached",
            help="Restore the recorded result if all that the command read is unchanged.",
        ),
    ] = False,
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="With --cached: let `prov push` share the changed paths and the log."
        ),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Run a command and record the files it changes.

    prov commits and tags the directory before and after the command, and exits with the command's
    exit status. It leaves out version control data (.git, .hg, .svn, .jj) and the paths that
    `exclude` in prov.toml lists. Runs with the same --build form one build.

    With --cached, prov runs the command under strace. If a recorded run of the same command read
    only unchanged files, prov does not run the command again: it makes the recorded changes and
    prints the log.

    Examples:

        prov run -C src --as app:compile -- make -j4
        prov run --build ci-42 --output image --as app:install -- ./install.sh image
        prov run --cached --as app:test -- make check
    """
    if share and not cached:
        raise typer.BadParameter("--share needs --cached")
    opened = create_store(store)
    step = named_step(name, build, outputs, gitignore=gitignore)
    environment = dict(os.environ)
    with shown_progress():
        if cached:
            ran = _run_cached(opened, directory, step, argv, environment, share=share)
        elif trace:
            ran = _run_traced(opened, directory, step, argv, environment)
        else:
            ran = run.run_as(opened, directory, step, argv, environment, pass_on)
    note(f"prov: {ran.tag}")
    if ran.problem:
        note(f"prov: {ran.problem}")
    join_packs(opened)
    raise typer.Exit(ran.code)


def _run_traced(
    store: repository.Store,
    directory: Path,
    step: steps.CommandStep,
    argv: list[str],
    environment: dict[str, str],
) -> steps.CommandRun:
    """Run a command under strace."""
    from prov.reads.strace import Strace  # most runs need neither
    from prov.wrapped.traced import trace_as

    strace = Strace.find(environment.get("PATH", os.defpath))
    return trace_as(store, directory, step, argv, environment, pass_on, strace)


def _run_cached(
    store: repository.Store,
    directory: Path,
    step: steps.CommandStep,
    argv: list[str],
    environment: dict[str, str],
    *,
    share: bool,
) -> steps.CommandRun:
    """Take the result of a command or run it, and print where the result is from."""
    from prov.wrapped.cached import run_cached  # most runs do not need it

    search_path = environment.get("PATH", os.defpath)
    ran = run_cached(
        store, directory, step, argv, environment, pass_on, search_path=search_path, shares=share
    )
    if ran.taken_from:
        note(f"prov: restored from {ran.taken_from}")
    if ran.doubt:
        note(f"prov: later runs cannot use this result: {ran.doubt}")
    return ran.run
