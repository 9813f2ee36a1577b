"""Open the farm of a build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prov.scheduler import session as sessions
from prov.scheduler import summary as summaries

from .farm_options import credentials_folder

if TYPE_CHECKING:
    from prov.scheduler.executor import Executor, LocalExecutor
    from prov.scheduler.plan import Plan


@contextmanager
def opened(
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
    from prov.farm.opening import FarmSettings, open_farm  # Dask takes a second to import

    own = table.get("credentials")
    folder = session.project.root / Path(own).expanduser() if own else None
    settings = FarmSettings(
        url=address,
        credentials=credentials_folder(credentials or folder),
        repository=table.get("repository", ""),
        verify=table.get("verify", 0.0),
        shortest=table.get("shortest"),
    )
    with open_farm(session.store, settings, progress.note) as farm:
        yield farm.executor
