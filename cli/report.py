"""`prov report` and `prov graph`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .context import StoreOption, open_store
from .output import note, say_text, write_file

Build = Annotated[
    str, typer.Argument(metavar="[BUILD]", help="latest (the default), latest~2, a label, an id.")
]


def report(
    build: Build = "latest",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to; a file that is there is replaced."
        ),
    ] = Path("prov-report.html"),
    store: StoreOption = None,
) -> None:
    """Write a build as one HTML page that needs no network: timeline, graph, causes, and a page for
    each task.

    Example: prov report -o build.html
    """
    from prov.history.builds import find_build
    from prov.report.build_report import report as read
    from prov.report.page import render

    opened = open_store(store)
    page = render(read(opened, find_build(opened, build)))
    write_file(output, page.encode("utf-8", "replace"))
    note(f"prov: {output} is written; open it in a browser")


def graph(
    build: Build = "latest",
    form: Annotated[Literal["svg", "dot"], typer.Option("--format", help="What to write.")] = "svg",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else standard output.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Draw a build's graph of tasks, coloured by what happened, as SVG or for Graphviz.

    Example: prov graph --format dot | dot -Tpdf -o graph.pdf
    """
    from prov.history.builds import find_build
    from prov.report.build_report import drawn
    from prov.report.drawing import dot, svg

    opened = open_store(store)
    tasks = drawn(opened, find_build(opened, build))
    text = dot(tasks) if form == "dot" else svg(tasks)
    if output is None:
        say_text(text)
    else:
        write_file(output, text.encode("utf-8", "replace"))
