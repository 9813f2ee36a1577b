"""`prov capture`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prov.store import joining, repository
from prov.tasks import wrap

from .context import StoreOption, exclude_here, store_path
from .output import say
from .progress import shown_progress

AsOption = Annotated[str, typer.Option("--as", metavar="RECIPE:TASK", help="The name of the run.")]


def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to record.")],
    name: AsOption,
    store: StoreOption = None,
) -> None:
    """Record a directory as it is.

    prov commits and tags the directory, and prints the tag. It leaves out version control data
    (.git, .hg, .svn, .jj) and the paths that `exclude` in prov.toml lists.

    Example:

        prov capture build/ --as app:compile
    """
    opened = repository.Store.create(store_path(store))
    with shown_progress():
        captured = wrap.capture_as(opened, directory, name, exclude_here())
    say(captured.tag)
    join_packs(opened)


def join_packs(store: repository.Store) -> None:
    """Join packs in a background process, if there are many or large ones."""
    if joining.large_packs(store.objects):
        from prov.upkeep.background import start_upkeep  # few captures need it

        start_upkeep(store, None)
