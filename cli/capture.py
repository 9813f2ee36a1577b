"""`prov capture`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prov.store import repository
from prov.tasks import wrap

from .context import StoreOption, exclude_here, store_path
from .output import say

AsOption = Annotated[str, typer.Option("--as", metavar="RECIPE:TASK", help="What to call it.")]


def command(
    directory: Annotated[Path, typer.Argument(help="Any directory.")],
    name: AsOption,
    store: StoreOption = None,
) -> None:
    """Commit and tag a directory as it is, with no recipe.

    Paths that `exclude` in prov.toml names are left out, and so is version control's data (.git,
    .hg, .svn, .jj).

    Example: prov capture build/ --as app:compile
    """
    opened = repository.Store.create(store_path(store))
    captured = wrap.capture_as(opened, directory, name, exclude_here())
    say(captured.tag)
