"""`prov graph`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from prov.history import builds
from prov.report import build_report, drawing

from .context import BuildArgument, StoreOption, open_store
from .outfile import write_file
from .output import say_text


def command(
    build: BuildArgument = "latest",
    form: Annotated[
        Literal["svg", "dot"], typer.Option("--format", help="The output format.")
    ] = "svg",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Draw a build's task graph as SVG or for Graphviz.

    Colours and shapes show what happened to each task.

    Example:

        prov graph --format dot | dot -Tpdf -o graph.pdf
    """
    opened = open_store(store)
    tasks = build_report.drawn(opened, builds.find_build(opened, build))
    draw = drawing.dot if form == "dot" else drawing.svg
    text = draw(tasks)
    if output is None:
        say_text(text)
    else:
        write_file(output, text.encode("utf-8", "replace"))
