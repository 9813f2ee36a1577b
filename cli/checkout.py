"""`prov checkout`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prov.errors import CheckoutError
from prov.history import directories
from prov.text import count_text
from prov.worktree import attributes, checkout, pool

from .context import StoreOption, open_store, plain_name
from .fetching import fetching
from .output import note, note_all, say
from .progress import shown_progress


def command(
    treeish: Annotated[
        str,
        typer.Argument(
            metavar="TREEISH",
            help="recipe:task, recipe:task@output, a tag, a commit or a tree.",
            callback=plain_name,
        ),
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An empty or a new directory.")],
    link: Annotated[
        bool,
        typer.Option(
            "--link", help="Hardlink files from the pool: fast, but do not write to them."
        ),
    ] = False,
    setuid: Annotated[
        bool,
        typer.Option("--setuid", help="Keep setuid and setgid bits, as for a root file system."),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write a recorded tree to a directory.

    Setuid and setgid bits are removed unless you pass --setuid.

    Example:

        prov checkout zlib:install@output /tmp/zlib
    """
    opened = open_store(store)
    tree = fetching(opened, lambda: directories.find_directory(opened, treeish))
    if directory.exists() and any(directory.iterdir()):
        raise CheckoutError(f"{directory} is not empty", hint="name an empty or a new directory")
    placer = pool.Pool(opened.cache / pool.OPEN, opened.objects) if link else None
    pair = tree.pair
    with opened.objects.writer(memory=True) as writer, shown_progress():
        if not setuid:
            pair = attributes.without_setuid(writer, pair, writer)
        placed = checkout.checkout_new(writer, directory, pair, placer=placer)
    if pair != tree.pair:
        note("note: removed setuid and setgid bits; use --setuid to keep them")
    if placer is not None:
        note_all(f"{os.fsdecode(path)}: {text}" for path, text in placer.notes)
    say(f"{count_text(placed, 'file')} in {directory}")
