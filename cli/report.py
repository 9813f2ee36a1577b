"""`prov report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prov.history import builds
from prov.report import build_report
from prov.report import page as pages

from .context import BuildArgument, StoreOption, open_store
from .outfile import write_file
from .output import note


def command(
    build: BuildArgument = "latest",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to FILE, and replace it if it exists."
        ),
    ] = Path("prov-report.html"),
    store: StoreOption = None,
) -> None:
    """Write a build as one self-contained HTML page.

    The page has the timeline, the task graph, the root causes and a section for each task. It loads
    nothing from a network.

    Example:

        prov report -o build.html
    """
    opened = open_store(store)
    page = pages.render(build_report.report(opened, builds.find_build(opened, build)))
    write_file(output, page.encode("utf-8", "replace"))
    note(f"prov: wrote {output}; open it in a browser")
