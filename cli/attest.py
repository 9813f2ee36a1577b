"""`prov attest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .context import BuildOption, StoreOption, open_store, plain_name
from .output import note, say_exact, write_file


def attest(
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
    from prov.statements.attestation import encode, is_uri, statement
    from prov.statements.dsse import MAKE_KEY, load_signer, sign
    from prov.statements.record_reader import attested_run, read_evidence

    if (key is None) != unsigned:
        raise typer.BadParameter(f"give either --key FILE ({MAKE_KEY}) or --unsigned")
    if build and "/" in name:
        raise typer.BadParameter(
            f"--build goes with RECIPE:TASK; {name} says of which run by itself"
        )
    if builder and not is_uri(builder):
        raise typer.BadParameter(
            f"--builder-id {builder}: not a URI, as https://builds.example.org/prov is one"
        )
    signer = load_signer(key) if key else None  # before much is read
    opened = open_store(store)
    run, remark = attested_run(opened, name, build)
    if remark:
        note(f"prov: {remark}")
    data = encode(statement(read_evidence(opened, run), builder=builder))
    data = sign(data, signer) if signer else data
    if output is None:
        say_exact(data)
    else:
        write_file(output, data)
