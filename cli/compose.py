"""`prov compose`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from prov.history import sysroot_packages
from prov.sharing import admission
from prov.store import odb, repository
from prov.sysroot import compose, postinst
from prov.tasks import sandbox as sandboxes
from prov.text import count_text
from prov.worktree import attributes, merge, path_tokens, pool

from .context import StoreOption, open_store, plain_name
from .output import note_all, say
from .progress import shown_progress


def command(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="An empty, a new, or an earlier composed directory."),
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TREEISH",
            help="RECIPE:TASK for its output, or any tree.",
            callback=plain_name,
        ),
    ],
    owner: Annotated[
        list[str] | None,
        typer.Option(
            "--owner",
            metavar="PATH=TREEISH",
            help="Use this tree's PATH where trees conflict. Repeatable.",
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Merge trees into one directory by hardlink.

    Run it again with other trees to update the directory in place. Files are links to shared files:
    do not write to them. prov runs the trees' postinst-* scripts. With bubblewrap, these scripts
    can change only the directory and have no network.

    Example:

        prov compose /tmp/root zlib:populate_sysroot libpng:populate_sysroot
    """
    opened = open_store(store)

    def confine(folder: Path, argv: list[str]) -> list[str]:
        sandbox = sandboxes.bubblewrap("auto")
        if sandbox is None:
            return argv
        return sandboxes.confined_command(sandbox, folder, folder, argv)

    parts = {name: sysroot_packages.contribution(opened, name) for name in names}
    unsigned = {name: part.unsigned for name, part in parts.items() if part.unsigned is not None}
    # only if needed: starting a sandbox to see whether it works takes as long as 100 names
    if unsigned and sandboxes.bubblewrap("auto") is None:
        for name, output in unsigned.items():
            admission.reject_programs(opened.objects, name, output)
    directory = directory.absolute()
    owners = dict(_owner(text) for text in owner or [])
    here = os.fsencode(directory)
    places = path_tokens.TokenPaths(
        {b"W": path_tokens.NOWHERE, b"S": here, b"N": here, b"H": b"/usr/bin"}
    )
    with _writer(opened) as (writer, states), shown_progress():
        trees = [
            merge.Owned(package.owner, attributes.without_setuid(writer, package.pair, writer))
            for name in names
            for package in parts[name].packages
        ]
        sysroots = compose.Sysroots(pool.Pool(opened.cache / pool.OPEN, opened.objects), states)
        composed = sysroots.compose(
            writer,
            directory,
            trees,
            wins=owners,
            places=places,
            run=postinst.plain_run(os.environ, confine),
            ours=False,
        )
    note_all(composed.notes)
    say(f"composed {directory} from {count_text(len(names), 'tree')}")


def _owner(text: str) -> tuple[bytes, str]:
    """Return the path and the tree of an --owner. Raises BadParameter."""
    path, equals, treeish = text.partition("=")
    if not equals:
        raise typer.BadParameter(
            f"{text!r} has no '=': write --owner usr/bin/ar=binutils:populate_sysroot"
        )
    return os.fsencode(path.strip("/")), treeish


@contextmanager
def _writer(store: repository.Store) -> Iterator[tuple[odb.ObjectWriter, Path]]:
    """Yield a writer of objects, and the folder for the states of sysroots.

    For a read-only store, both are temporary.
    """
    if os.access(store.objects.folder, os.W_OK):
        with store.objects.writer(memory=False) as writer:
            yield writer, store.cache / "sysroots"
        return
    with (
        tempfile.TemporaryDirectory(prefix="prov-compose-") as folder,
        store.objects.writer(memory=True) as writer,
    ):
        yield writer, Path(folder)
