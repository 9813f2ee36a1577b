"""The remotes and results that `prov push`, `pull`, `export` and `reproduce` use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from prov.errors import ProvError
from prov.history import builds
from prov.remote import settings
from prov.sharing import pushing, results
from prov.store import repository
from prov.transport import access

from .output import note_all, say

Remotes = Annotated[
    list[str] | None,
    typer.Option("--remote", "-r", metavar="NAME", help="Use only this remote. Repeatable."),
]


def user_access() -> access.Access:
    """Return this user's access to remotes, which may prompt for a password."""
    return access.Access(dict(os.environ), interactive=True)


def signing_key(option: str) -> str:
    """Return a --key in its stored form: `gpg:ID`, or an absolute path."""
    if not option or option.startswith("gpg:"):
        return option
    return str(Path(option).expanduser().absolute())


def selected_remotes(
    store: repository.Store, names: list[str] | None, *, to_push: bool = False
) -> list[settings.Remote]:
    """Return the named remotes, or the default remotes.

    Raises ProvError without a remote.
    """
    if names:
        return [settings.find_remote(store, name) for name in names]
    remotes = settings.read_remotes(store)
    if to_push:
        publishing = [remote for remote in remotes if remote.push]
        only = remotes if len(remotes) == 1 else []
        remotes = publishing or only
    if remotes:
        return remotes
    if to_push:
        raise ProvError(
            "no remote to push to", hint="run `prov remote add NAME URL --push` to add one"
        )
    raise ProvError("no remotes", hint="run `prov remote add NAME URL` to add one")


def select_results(
    store: repository.Store, build: str, *, everything: bool
) -> list[results.Shareable]:
    """Return the results of a build, or all recorded results."""
    if everything:
        return results.recorded_results(store)
    return results.results_of(builds.find_build(store, build))


def check_shareable(
    selected: Sequence[results.Shareable],
    withheld: Mapping[str, str],
) -> None:
    """Print a line if there is nothing to share. Raises ProvError if no result can be shared."""
    if selected and not withheld:
        return
    if selected:
        why = "; ".join(pushing.reasons(withheld))
        raise ProvError(
            f"cannot share any result: {why}",
            hint="run `prov build` to record results that can be shared",
        )
    say("nothing to share: no successful task is recorded")


def print_withheld(withheld: Mapping[str, str]) -> None:
    """Print why results are not shared."""
    note_all(f"not shared: {reason}" for reason in pushing.reasons(withheld))
