"""Which remotes and which results `prov push`, `pull`, `export` and `reproducible` work on."""

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
    list[str] | None, typer.Option("--remote", "-r", metavar="NAME", help="Only this remote.")
]


def user_access() -> access.Access:
    """Return access to remotes as this user, who can be asked for a password."""
    return access.Access(dict(os.environ), interactive=True)


def signing_key(option: str) -> str:
    """Return a --key as it is stored: `gpg:ID`, or a file's absolute path."""
    if not option or option.startswith("gpg:"):
        return option
    return str(Path(option).expanduser().absolute())


def selected_remotes(
    store: repository.Store, names: list[str] | None, *, to_push: bool = False
) -> list[settings.Remote]:
    """Return the remotes of these names; without names, those that are used by default.

    Raises ProvError if there is none.
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
        raise ProvError("there is no remote to push to", hint="`prov remote add NAME URL --push`")
    raise ProvError("there is no remote", hint="`prov remote add NAME URL`")


def select_results(
    store: repository.Store, build: str, *, everything: bool
) -> list[results.Shareable]:
    """Return the results of a build, or everything that is recorded."""
    if everything:
        return results.recorded_results(store)
    return results.results_of(builds.find_build(store, build))


def check_shareable(
    store: repository.Store,
    selected: Sequence[results.Shareable],
    withheld: Mapping[str, str],
) -> None:
    """Print that there is nothing to share, if so. Raises ProvError if no result can be shared."""
    if selected and not withheld:
        return
    why = pushing.why_nothing(store, selected, withheld)
    if why:
        raise ProvError(
            f"nothing can be shared: {why}", hint="`prov build` records results that can"
        )
    say("nothing to share: no task that succeeded is recorded")


def print_withheld(withheld: Mapping[str, str]) -> None:
    """Print why results are not shared."""
    note_all(f"not shared: {reason}" for reason in pushing.reasons(withheld))
