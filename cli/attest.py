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
            help="A task, its newest run; or a run's tag.",
            callback=plain_name,
        ),
    ],
    build: BuildOption = "",
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="Private key, ed25519 or ECDSA, OpenSSH or PEM, no passphrase.",
        ),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="The bare statement, for other tools to sign.")
    ] = False,
    builder: Annotated[
        str,
        typer.Option(
            "--builder-id", metavar="URI", help="Who built it; else urn:prov:builder:HOST."
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else standard output.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Attest what a task made of what: an in-toto statement with SLSA's provenance, signed in a
    DSSE envelope.

    Either --key or --unsigned must be given.

    Example: prov attest demo-image:image --key attest.key -o image.intoto.json
    """
    if (key is None) != unsigned:
        raise typer.BadParameter(f"give either --key FILE ({dsse.MAKE_KEY}) or --unsigned")
    if build and "/" in name:
        raise typer.BadParameter(
            f"--build goes with RECIPE:TASK; {name} says of which run by itself"
        )
    if builder and not attestation.is_uri(builder):
        raise typer.BadParameter(
            f"--builder-id {builder}: not a URI, as https://builds.example.org/prov is one"
        )
    signer = dsse.load_signer(key) if key else None  # before much is read
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
