"""`prov checkout`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .context import StoreOption, open_store, plain_name
from .elsewhere import fetching
from .output import note, say


def checkout(
    treeish: Annotated[
        str,
        typer.Argument(
            help="recipe:task, recipe:task@output, a tag, a commit, a tree.", callback=plain_name
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="Where to put it; must be empty or not there.")],
    link: Annotated[
        bool,
        typer.Option(
            "--link", help="Hardlinks from the pool: fast and small, not to be written to."
        ),
    ] = False,
    setuid: Annotated[
        bool,
        typer.Option(
            "--setuid", help="Keep setuid and setgid permissions, as for a root file system."
        ),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Put any recorded tree on disk.

    Programs that would run as their owner or group lose that permission, unless --setuid is given.
    Example: prov checkout zlib:install@output /tmp/zlib
    """
    from prov.errors import CheckoutError
    from prov.history.names import find
    from prov.worktree.attributes import without_setuid
    from prov.worktree.checkout import checkout_new
    from prov.worktree.pool import OPEN, Pool

    opened = open_store(store)
    found = fetching(opened, lambda: find(opened, treeish))
    if directory.exists() and any(directory.iterdir()):
        raise CheckoutError(f"{directory} is not empty", hint="name another folder")
    placer = Pool(opened.cache / OPEN, opened.objects) if link else None
    pair = found.pair
    with opened.objects.writer(memory=True) as writer:
        if not setuid:
            pair = without_setuid(writer, pair, writer)
        placed = checkout_new(writer, directory, pair, placer=placer)
    if pair != found.pair:
        note("note: setuid and setgid permissions were left out; --setuid keeps them")
    for path, text in placer.notes if placer else []:
        note(f"note: {os.fsdecode(path)}: {text}")
    say(f"{placed} files in {directory}")
