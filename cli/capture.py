"""`prov capture`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .context import StoreOption, exclude_here, store_path
from .output import say

AsOption = Annotated[str, typer.Option("--as", metavar="RECIPE:TASK", help="What to call it.")]


def capture(
    directory: Annotated[Path, typer.Argument(help="Any directory.")],
    name: AsOption,
    store: StoreOption = None,
) -> None:
    """Commit and tag a directory as it is, with no recipe.

    Paths that `exclude` in prov.toml names are left out, and so is version control's data (.git,
    .hg, .svn, .jj).

    Example: prov capture build/ --as app:compile
    """
    from prov.store.repository import Store
    from prov.tasks.wrap import capture_as

    captured = capture_as(Store.create(store_path(store)), directory, name, exclude_here())
    say(captured.tag)
