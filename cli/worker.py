"""`prov worker`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from prov.farm import credentials as certificates
from prov.farm import perform, processes, runner
from prov.store import repository
from prov.tasks import sandbox
from prov.text import parse_size

from .farming import CredentialsOption, credentials_folder
from .output import note


def command(
    scheduler: Annotated[
        str, typer.Option("--scheduler", metavar="URL", help="The address of Dask's scheduler.")
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Default: the host's name.")
    ] = "",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, max=1024, metavar="N", help="Run up to N jobs at once."
        ),
    ] = None,
    network: Annotated[
        bool, typer.Option("--network", help="Also run tasks that need the network.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="The worker's store and WORKDIRs. Default: ~/.cache/prov/NAME.",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option("--size", metavar="SIZE", help="Delete its store when it exceeds this size."),
    ] = "20G",
    credentials: CredentialsOption = None,
) -> None:
    """Run tasks of other machines' builds.

    The worker fetches all that a task needs, the compiler included, runs it in bubblewrap, and
    pushes the result. It keeps what it fetched in its own store, and may be deleted at any time.

    Example:

        prov worker --scheduler tls://build1:8786 --credentials ~/worker3
    """
    own = certificates.Credentials.open(credentials_folder(credentials))
    processes.require_dask()
    name = name or socket.gethostname()
    place = folder or _cache() / name
    bwrap = sandbox.bubblewrap("bwrap")
    assert bwrap is not None
    store = repository.Store.create(place / "store")
    site = perform.Site(
        credentials=own,
        store=store,
        sandbox=bwrap,
        work=place / "work",
        environment=dict(os.environ),
        jobs=jobs or len(os.sched_getaffinity(0)),
        offers_network=network,
        most=parse_size(size),
    )
    processes.run_worker(
        runner.OrderRunner.start(site),
        own,
        scheduler,
        name=name,
        jobs=site.jobs,
        offers_network=network,
        folder=place / "dask",
        report=note,
    )


def _cache() -> Path:
    top = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(top) / "prov"
