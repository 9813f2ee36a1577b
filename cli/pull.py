"""`prov pull`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.records.keys import TaskKey
from prov.scheduler import session as sessions
from prov.sharing import caches
from prov.text import count_text, size_text

from .context import SetOption, StoreOption, open_session, open_store, project_here
from .output import note_all, say
from .progress import shown_progress
from .sharing import Remotes, selected_remotes, user_access


def command(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET...]", help="A recipe or a recipe:task. Default: all recipes."
        ),
    ] = None,
    remotes: Remotes = None,
    workdirs: Annotated[
        bool, typer.Option("--with-workdirs", help="Also fetch WORKDIRs and logs, if published.")
    ] = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Fetch the current recipes' results from remotes.

    prov fetches the outputs of all tasks, so that you can build without a network. `prov build`
    itself needs no pull: it fetches what it uses. To fetch all published results of runs of
    `prov run`, name them. The exit status is 1 if a transfer failed or prov rejected fetched
    data.

    Examples:

        prov pull image
        prov pull --with-workdirs app:install
    """
    if not targets or _names_a_recipe(targets):
        session = open_session(store, settings, create=True)
        session.caches.remotes = selected_remotes(session.store, remotes)
        session.caches.access = user_access()
        request = sessions.Request(tuple(targets or ["world"]))
        with shown_progress():
            pulled = session.pull(request, workdirs=workdirs)
    else:
        opened = open_store(store)
        named = caches.Caches(opened, selected_remotes(opened, remotes), user_access())
        with shown_progress():
            pulled = caches.pull_named(named, targets, workdirs=workdirs)
    note_all(pulled.notes)
    fetched = count_text(len(pulled.tasks), "result")
    say(f"{fetched} fetched, {size_text(pulled.size)}; {pulled.here} already here")
    if pulled.failed:
        raise typer.Exit(1)


def _names_a_recipe(targets: list[str]) -> bool:
    """Return whether one of the targets is a recipe of the project, or a task of one."""
    project = project_here()
    if project is None:
        return False
    names = {TaskKey(name).recipe for name in targets} - {"world"}
    return len(names) == 0 or any(project.resolve(name) for name in names)
