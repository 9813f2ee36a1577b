"""`prov attest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prov.statements import attestation, dsse, record_reader

from .context import BuildOption, StoreOption, open_store, plain_name
from .outfile import write_file
from .output import note, say_exact


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="A run: zlib:package for the latest, or a tag.",
            callback=plain_name,
        ),
    ],
    build: BuildOption = "",
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="Sign with this ed25519 or ECDSA key, in OpenSSH or PEM form, without passphrase.",
        ),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Write the statement without a signature.")
    ] = False,
    builder: Annotated[
        str,
        typer.Option(
            "--builder-id", metavar="URI", help="Name the builder. Default: urn:prov:builder:HOST."
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write a signed provenance statement for a task.

    The statement is in-toto's with SLSA provenance, in a DSSE envelope: the task's outputs, inputs,
    sources, toolchain and builder. Pass either --key or --unsigned.

    Example:

        prov attest demo-image:image --key attest.key -o image.intoto.json
    """
    if (key is None) != unsigned:
        raise typer.BadParameter(f"pass either --key FILE ({dsse.MAKE_KEY}) or --unsigned")
    if build and "/" in name:
        raise typer.BadParameter(f"--build needs RECIPE:TASK: {name} already names one run")
    if builder and not attestation.is_uri(builder):
        raise typer.BadParameter(
            f"--builder-id {builder!r}: not a URI such as https://builds.example.org/prov"
        )
    signer = dsse.load_signer(key) if key else None
    opened = open_store(store)
    run, remark = record_reader.attested_run(opened, name, build)
    if remark:
        note(f"prov: {remark}")
    evidence = record_reader.read_evidence(opened, run)
    data = attestation.encode(attestation.statement(evidence, builder=builder))
    if signer:
        data = dsse.sign(data, signer)
    if output is None:
        say_exact(data)
    else:
        write_file(output, data)
