"""`prov farm`: create a farm, issue credentials, start a local farm, list workers."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from prov.farm import cluster, processes
from prov.farm import credentials as certificates
from prov.text import count_text

from .context import JsonOption
from .farming import CredentialsOption, credentials_folder
from .help import CommandGroup
from .output import note, say, say_json

LOOPBACK = "127.0.0.1"

group = CommandGroup(
    """Manage a farm: machines that run tasks of builds.

    A farm is a Dask cluster: a scheduler, which `prov farm up` starts, and workers, which `prov
    worker` starts on each machine.

    Example:

        prov farm up --workers 2
    """
)


@group.command("init")
def init(
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="NAME", help="A name or address of this machine. Repeatable."
        ),
    ] = None,
    credentials: CredentialsOption = None,
) -> None:
    """Create the certificates of a new farm.

    This machine then starts builds and issues credentials to workers. Keep its folder private:
    anyone who can read it can run commands on the workers.
    """
    folder = credentials_folder(credentials)
    names = [*(hosts or ()), socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1"]
    certificates.create_farm(folder, names)
    note(f"created a farm in {folder}")


@group.command("credentials")
def credentials_of(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The worker's name.")],
    target: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    credentials: CredentialsOption = None,
) -> None:
    """Issue the credentials of a worker.

    Copy the folder to the worker's machine. A worker with these credentials can answer orders, not
    give them.
    """
    certificates.issue(credentials_folder(credentials), target, name, "worker")
    note(f"wrote the credentials of {name} to {target}")


@group.command("up")
def up(
    workers: Annotated[
        int,
        typer.Option("--workers", "-n", min=0, max=64, metavar="N", help="Start N workers."),
    ] = 2,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=1, max=1024, metavar="N", help="Jobs of each worker."),
    ] = 1,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="The address to listen on."),
    ] = LOOPBACK,
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, metavar="N", help="The scheduler's port. Default: any."
        ),
    ] = 0,
    credentials: CredentialsOption = None,
) -> None:
    """Start a scheduler, and workers on this machine, until ^C.

    It creates a farm if there is none. Workers of other machines join with `prov worker`.

    Examples:

        prov farm up --workers 2
        prov farm up --workers 0 --host 192.0.2.10 --port 8786
    """
    folder = credentials_folder(credentials)
    if not (folder / certificates.AUTHORITY).exists():
        certificates.create_farm(folder, ["localhost", host])
    own = certificates.Credentials.open(folder)
    processes.run_scheduler(
        own, host, port, partial(_workers, folder, workers, jobs), _report_address
    )


def _workers(folder: Path, workers: int, jobs: int, address: str) -> Sequence[Sequence[str]]:
    """Issue credentials to local workers, and return their commands."""
    commands = []
    for number in range(1, workers + 1):
        name = f"local-{number}"
        own = folder / "workers" / name
        certificates.issue(folder, own, name, "worker")
        command = [sys.argv[0], "worker", "--scheduler", address, "--name", name]
        commands.append([*command, "--credentials", str(own), "--jobs", str(jobs)])
    return commands


def _report_address(address: str) -> None:
    note(f"the scheduler is {address}; to use it, run `prov build --farm {address} TARGET`")


@group.command("status")
def show_status(
    url: Annotated[str, typer.Argument(metavar="URL", help="The scheduler's address.")],
    credentials: CredentialsOption = None,
    json: JsonOption = False,
) -> None:
    """List the workers of a farm."""
    own = certificates.Credentials.open(credentials_folder(credentials))
    found = cluster.read_status(url, own)
    if json:
        say_json("farm", **asdict(found))
        return
    for worker in found.workers:
        network = ", network" if worker.offers_network else ""
        say(f"{worker.name}  {count_text(worker.jobs, 'job')}{network}  {worker.address}")
    if not found.workers:
        say("no workers")
    if found.dashboard:
        say(f"dashboard: {found.dashboard}")
