"""Options of commands that use a farm, and the farm of a build."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prov.scheduler import session as sessions
from prov.scheduler import summary as summaries

if TYPE_CHECKING:
    from prov.scheduler.executor import Executor, LocalExecutor
    from prov.scheduler.plan import Plan

CredentialsOption = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="DIR",
        help="The farm's certificates. Default: ~/.config/prov/farm.",
    ),
]


def credentials_folder(option: Path | None) -> Path:
    """Return the folder of the option, or the default."""
    if option is not None:
        return option.absolute()
    top = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(top) / "prov" / "farm"


@contextmanager
def opened_farm(
    session: sessions.Session, url: str, credentials: Path | None, progress: summaries.Progress
) -> Iterator[Callable[[LocalExecutor, Plan], Executor] | None]:
    """Yield a function that returns the executor of a build on a farm; None without a farm.

    The settings are those of `[farm]` in prov.toml, and of the options.
    """
    table = session.project.settings.get("farm", {})
    address = url or table.get("url", "")
    if not address:
        yield None
        return
    own = table.get("credentials")
    folder = credentials_folder(
        credentials or (session.project.root / Path(own).expanduser() if own else None)
    )
    if address.startswith(("grpc://", "grpcs://")):
        from prov.reapi.opening import ReapiSettings, open_server  # gRPC is slow to import

        names = ("properties", "python", "actions", "jobs")
        chosen = {name: table[name] for name in names if name in table}
        yield open_server(session.store, ReapiSettings(address, folder, **chosen), progress.note)
        return
    from prov.farm.opening import FarmSettings, open_farm  # Dask takes a second to import

    settings = FarmSettings(
        url=address,
        credentials=folder,
        repository=table.get("repository", ""),
        verify=table.get("verify", 0.0),
        shortest=table.get("shortest"),
    )
    with open_farm(session.store, settings, progress.note) as farm:
        yield farm.executor
