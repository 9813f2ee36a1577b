"""`prov compose`."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from .context import StoreOption, open_store, plain_name
from .output import count_text, note, say


def compose(
    directory: Annotated[
        Path, typer.Argument(help="Where; a folder that is empty, not there, or composed before.")
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TREEISH…",
            help="RECIPE:TASK for what it gives, or any tree.",
            callback=plain_name,
        ),
    ],
    owner: Annotated[
        list[str] | None,
        typer.Option(
            "--owner",
            metavar="PATH=TREEISH",
            help="Whose file is taken where two bring different ones.",
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Merge trees into one directory, by hardlinks; with other trees later, update it in place.

    Files are links to ones that others have too: don't write to them. postinst-* scripts in the
    trees are run; where bubblewrap is installed, they can change nothing but the directory and have
    no network. Example: prov compose /tmp/root zlib:populate_sysroot libpng:populate_sysroot
    """
    from prov.history.packages import check_signed, packages
    from prov.sysroot.compose import Sysroots
    from prov.sysroot.postinst import plain_run
    from prov.tasks.sandbox import bubblewrap, confined_command
    from prov.worktree.attributes import without_setuid
    from prov.worktree.merge import Owned
    from prov.worktree.path_tokens import NOWHERE, TokenPaths
    from prov.worktree.pool import OPEN, Pool

    opened = open_store(store)
    sandbox = bubblewrap("auto")

    def confine(folder: Path, command: list[str]) -> list[str]:
        return command if sandbox is None else confined_command(sandbox, folder, folder, command)

    if sandbox is None:
        check_signed(opened, names)
    directory = directory.absolute()
    wins = {}
    for text in owner or []:
        path, equals, name = text.partition("=")
        if not equals:
            raise typer.BadParameter(
                f"{text!r} has no =; as in --owner usr/bin/ar=binutils:populate_sysroot"
            )
        wins[os.fsencode(path.strip("/"))] = name
    here = os.fsencode(directory)
    places = TokenPaths({b"W": NOWHERE, b"S": here, b"N": here, b"H": b"/usr/bin"})
    with ExitStack() as stack:
        states, memory = opened.cache / "sysroots", not os.access(opened.objects.folder, os.W_OK)
        if memory:  # nothing can be remembered there
            states = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prov-compose-")))
        writer = stack.enter_context(opened.objects.writer(memory=memory))
        composed = Sysroots(Pool(opened.cache / OPEN, opened.objects), states).compose(
            writer,
            directory,
            [
                Owned(package.owner, without_setuid(writer, package.pair, writer))
                for name in names
                for package in packages(opened, name)
            ],
            wins=wins,
            places=places,
            run=plain_run(os.environ, confine),
            ours=False,
        )
    for text in composed.notes:
        note(f"note: {text}")
    say(f"{directory} is composed of {count_text(len(names), 'tree')}")
