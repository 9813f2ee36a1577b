"""`prov export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prov.sharing import pushing
from prov.text import count_text, size_text

from .context import StoreOption, open_store
from .output import say
from .progress import shown_progress
from .sharing import check_shareable, print_withheld, select_results, signing_key


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that a web server serves.")
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Export all recorded results, not only the last build's.")
    ] = False,
    build: Annotated[
        str,
        typer.Option(
            "--build",
            metavar="BUILD",
            help="Export this build's results: latest, a label, or an id.",
        ),
    ] = "latest",
    key: Annotated[
        str, typer.Option("--key", metavar="FILE|gpg:ID", help="Sign with this ssh or GnuPG key.")
    ] = "",
    store: StoreOption = None,
) -> None:
    """Write results as plain files for a web server.

    prov does not write existing files again. Other stores read the folder's URL as a remote: `prov
    remote add mirror https://...`. The exit status is 1 if there are results but none can be
    shared.

    Example:

        prov export /srv/www/cache
    """
    opened = open_store(store)
    results = select_results(opened, build, everything=everything)
    check_shareable(results, {})
    if not results:
        return
    with shown_progress():
        export = pushing.export_results(opened, folder.absolute(), results, key=signing_key(key))
    if not export.count and not export.known:
        check_shareable(results, export.withheld)
    say(f"{count_text(export.count, 'result')} written to {folder}, {size_text(export.size)}")
    print_withheld(export.withheld)
