"""`prov push`, `prov pull` and `prov reproducible`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .context import JsonOption, SetOption, StoreOption, open_session, open_store
from .output import count_text, note, say, say_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prov.remote.settings import Remote
    from prov.sharing.results import Shareable
    from prov.store.repository import Store
    from prov.transport.access import Access

Remotes = Annotated[
    list[str] | None, typer.Option("--remote", "-r", metavar="NAME", help="Only this remote.")
]


def _access() -> Access:
    from prov.transport.access import Access

    return Access(dict(os.environ), interactive=True)


def _chosen(store: Store, names: list[str] | None, *, to_push: bool = False) -> list[Remote]:
    from prov.errors import ProvError
    from prov.remote.settings import find_remote, read_remotes

    found = [find_remote(store, name) for name in names] if names else read_remotes(store)
    if to_push and not names:
        found = [each for each in found if each.push] or found[: len(found) == 1]
    if not found:
        raise ProvError(
            "there is no remote to push to" if to_push else "there is no remote",
            hint="`prov remote add NAME URL --push`" if to_push else "`prov remote add NAME URL`",
        )
    return found


def _check_any(store: Store, results: Sequence[Shareable], withheld: Mapping[str, str]) -> None:
    """Say that there is nothing to share; raises ProvError if that is since no result can be."""
    from prov.errors import ProvError
    from prov.sharing.pushing import why_nothing

    if results and not withheld:
        return
    why = why_nothing(store, results, withheld)
    if why:
        raise ProvError(
            f"nothing can be shared: {why}", hint="`prov build` records results that can"
        )
    say("nothing to share: no task that succeeded is recorded")


def push(
    remotes: Remotes = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that is recorded, not only the last build.")
    ] = False,
    build: Annotated[
        str, typer.Option("--build", metavar="BUILD", help="latest, a label, an id.")
    ] = "latest",
    workdirs: Annotated[
        bool, typer.Option("--with-workdirs", help="WORKDIRs and logs, too.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Publish the last build's results to remotes.

    A result is a task's output with its inputs. prov pushes to the remotes that were added with
    --push, or to the only one, and waits for the end. Exit status 1 if there are results and none
    of them can be shared. Example: prov push --remote team
    """
    from prov.history.builds import find_build
    from prov.sharing.pushing import push as push_to
    from prov.sharing.pushing import reasons
    from prov.sharing.results import recorded_results, results_of

    opened = open_store(store)
    chosen = _chosen(opened, remotes, to_push=True)
    results = recorded_results(opened) if everything else results_of(find_build(opened, build))
    _check_any(opened, results, {})
    used = [each.task_hash for each in results]
    for remote in chosen if results else []:
        outcome = push_to(
            opened, remote, _access(), results, used=used, workdirs=workdirs or remote.workdirs
        )
        if not outcome.published and not outcome.known:
            _check_any(opened, results, outcome.withheld)
        new, pushes = (
            count_text(len(outcome.published), "result"),
            count_text(outcome.pushes, "push"),
        )
        say(
            f"{remote.name}: {new} published in {pushes.replace('pushs', 'pushes')};"
            f" {outcome.known} were there"
        )
        for text in outcome.notes:
            note(f"note: {text}")
        for text in reasons(outcome.withheld):
            note(f"note: not shared: {text}")
        for task in outcome.differing:
            say(
                f"  not reproducible: {task.key}: another output was published before; `prov"
                " reproducible` shows both"
            )


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that a web server serves.")
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="All that is recorded, not only the last build.")
    ] = False,
    build: Annotated[
        str, typer.Option("--build", metavar="BUILD", help="latest, a label, an id.")
    ] = "latest",
    key: Annotated[
        str, typer.Option("--key", metavar="FILE|gpg:ID", help="What to sign with.")
    ] = "",
    store: StoreOption = None,
) -> None:
    """Write results as plain files, for any web server.

    Files that exist are not written again. Exit status 1 if there are results and none of them can
    be shared. Its URL is a remote to read from: `prov remote add mirror https://…`. Example: prov
    export /srv/www/cache
    """
    from prov.history.builds import find_build
    from prov.sharing.pushing import export_results, reasons
    from prov.sharing.results import recorded_results, results_of
    from prov.text import size_text

    opened = open_store(store)
    results = recorded_results(opened) if everything else results_of(find_build(opened, build))
    signer = key if not key or key.startswith("gpg:") else str(Path(key).expanduser().absolute())
    _check_any(opened, results, {})
    if not results:
        return
    done = export_results(opened, folder.absolute(), results, key=signer)
    if not done.count and not done.known:
        _check_any(opened, results, done.withheld)
    say(f"{count_text(done.count, 'result')} written to {folder}, {size_text(done.size)}")
    for text in reasons(done.withheld):
        note(f"note: not shared: {text}")


def pull(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET…]", help="recipe, recipe:task; without one, all recipes."),
    ] = None,
    remotes: Remotes = None,
    workdirs: Annotated[
        bool, typer.Option("--with-workdirs", help="WORKDIRs and logs, if they are there.")
    ] = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Fetch what remotes have of the recipes as they are now: all tasks' outputs, for a build
    without a network.

    `prov build` needs no pull: it fetches what it needs. Exit status 1 if a transfer failed, or
    what came was refused. Example: prov pull image
    """
    from prov.scheduler.session import Request
    from prov.text import size_text

    session = open_session(store, settings, create=True)
    session.caches.remotes = _chosen(session.store, remotes)
    session.caches.access = _access()
    pulled = session.pull(Request(tuple(targets or ["world"])), workdirs=workdirs)
    for text in pulled.notes:
        note(f"note: {text}")
    say(
        f"{count_text(len(pulled.tasks), 'result')} fetched, {size_text(pulled.size)};"
        f" {pulled.here} were here"
    )
    if pulled.failed:
        raise typer.Exit(1)


def reproducible(
    remotes: Remotes = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Go by what is known of the remotes.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List tasks that gave different outputs for the same inputs, here or on machines that share a
    remote.

    What was published first is what is used; the others are kept beside it. Exit status 1 if there
    are any. Example: prov reproducible
    """
    from prov.history.reproducible import differing_tasks

    opened = open_store(store)
    found = differing_tasks(
        opened, _chosen(opened, remotes) if remotes else None, _access(), ask=not offline
    )
    for text in found.notes:
        note(f"note: {text}")
    if json:
        say_json(
            "reproducible",
            tasks=[
                {
                    "task": each.key,
                    "task_hash": each.task_hash.hex(),
                    "outputs": [o.hex() for o in each.outputs],
                    "first": each.where[0],
                    "differences": each.lines,
                }
                for each in found.tasks
            ],
        )
    for each in found.tasks if not json else ():
        say(f"{each.key} {each.task_hash.hex()[:12]}: {count_text(len(each.outputs), 'output')}")
        for output, where in zip(each.outputs, each.where, strict=True):
            say(f"  {output.hex()[:12]}  {where}")
        for line in each.lines:
            say(f"    {line}")
    if not json and not found.tasks:
        say("no task is known to have given different outputs for the same inputs")
    if found.tasks:
        raise typer.Exit(1)
