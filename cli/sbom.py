"""`prov sbom`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from prov.sbom import bill as bills
from prov.sbom import collect, cyclonedx, omnibor, spdx, targets
from prov.text import count_text

from .context import StoreOption, open_store, plain_name
from .outfile import write_file
from .output import note, say_exact
from .progress import shown_progress


class Format(StrEnum):
    """Formats of bills."""

    SPDX = "spdx"
    CYCLONEDX = "cyclonedx"
    OMNIBOR = "omnibor"


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[BUILD|TARGET]",
            help="A build, or a recipe or task of one: latest~2, zlib, good/zlib:package.",
            callback=plain_name,
        ),
    ] = "latest",
    form: Annotated[
        Format,
        typer.Option("--format", help="SPDX 3.0.1, CycloneDX 1.6, or OmniBOR input manifests."),
    ] = Format.SPDX,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Default: standard output. OmniBOR needs a directory.",
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write a software bill of materials of a build.

    The bill lists the files of the targets with their digests, the recipes, sources and patches
    that they came from, the tasks that made them, and the files that these tasks read. The same
    build has the same bill, byte for byte.

    Examples:

        prov sbom -o image.spdx.json
        prov sbom latest~1 --format cyclonedx -o image.cdx.json
        prov sbom demo-image:rootfs --format omnibor -o .omnibor
    """
    if form is Format.OMNIBOR and output is None:
        raise typer.BadParameter("--format omnibor writes a directory: pass --output DIR")
    build, tasks = targets.find_targets(open_store(store), name)
    with shown_progress():
        bill = collect.collect(build, tasks)
    _warn(bill)
    if output is not None and form is Format.OMNIBOR:
        _write_manifests(bill, output)
        return
    data = spdx.encode(bill) if form is Format.SPDX else cyclonedx.encode(bill)
    if output is None:
        say_exact(data)
    else:
        write_file(output, data)


def _warn(bill: bills.Bill) -> None:
    """Print what the bill may lack, with an example of each kind."""
    unknown = sorted({key for task in bill.tasks for key in task.unknown})
    if unknown:
        tasks = count_text(len(unknown), "task")
        note(
            f"prov: {tasks} not recorded in this store, such as {unknown[0]}; `prov pull` fetches"
            " records"
        )
    problems = [task for task in bill.tasks if task.problem]
    if problems:
        first = problems[0]
        tasks = count_text(len(problems), "task")
        note(f"prov: files read by {tasks} may be missing; {first.key}: {first.problem}")


def _write_manifests(bill: bills.Bill, folder: Path) -> None:
    for name, data in omnibor.encode(bill).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
