"""`prov capture`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.store import joining, repository
from prov.wrapped import run
from prov.wrapped import step as steps

from .context import StoreOption, create_store, exclude_here
from .output import note, say
from .progress import shown_progress

AsOption = Annotated[str, typer.Option("--as", metavar="RECIPE:TASK", help="The name of the run.")]
LabelOption = Annotated[
    str,
    typer.Option(
        "--build",
        metavar="LABEL",
        help="Add the run to the build with this label. Default: $PROV_BUILD, or a new build.",
    ),
]
OutputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="The output, which `prov push` shares: a folder below the recorded one. Repeatable.",
    ),
]


GitignoreOption = Annotated[
    bool,
    typer.Option(
        "--gitignore", help="Skip paths that git ignores, except for the folders of --output."
    ),
]


def named_step(
    name: str, build: str, outputs: list[str] | None, *, gitignore: bool
) -> steps.CommandStep:
    """Return how to record a run: from options, the environment and prov.toml."""
    label = build or os.environ.get("PROV_BUILD", "")
    return steps.CommandStep.parse(
        name, build=label, outputs=outputs or (), exclude=exclude_here(), gitignore=gitignore
    )


def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to record.")],
    name: AsOption,
    build: LabelOption = "",
    outputs: OutputOption = None,
    gitignore: GitignoreOption = False,
    store: StoreOption = None,
) -> None:
    """Record a directory as it is.

    prov commits and tags the directory, and prints the tag. It leaves out version control data
    (.git, .hg, .svn, .jj) and the paths that `exclude` in prov.toml lists. Runs with the same
    --build form one build.

    Example:

        prov capture build/ --as app:compile
    """
    opened = create_store(store)
    with shown_progress():
        captured = run.capture_as(
            opened, directory, named_step(name, build, outputs, gitignore=gitignore)
        )
    say(captured.tag)
    if captured.problem:
        note(f"prov: {captured.problem}")
    join_packs(opened)
    raise typer.Exit(captured.code)


def join_packs(store: repository.Store) -> None:
    """Join packs in a background process, if there are many or large ones."""
    if joining.large_packs(store.objects):
        from prov.upkeep.background import start_upkeep  # few captures need it

        start_upkeep(store, None)
