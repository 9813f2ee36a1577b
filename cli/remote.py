"""`prov remote`: add, list, shrink and remove remotes."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from prov.remote import git_remote, opening, settings, shrink
from prov.sharing import caches, pushing
from prov.store import git, repository
from prov.text import count_text, parse_size, size_text
from prov.transport import access, address, errors

from .context import JsonOption, StoreOption, create_store, open_store
from .help import CommandGroup
from .output import note, note_all, remark, say, say_json
from .sharing import signing_key, user_access

group = CommandGroup(
    """Manage the remotes that a store shares with.

    A remote is a git repository behind a path, ssh, http or git, or a folder of plain files on a
    web server.

    Example:

        prov remote add team /srv/cache --push
    """
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The remote's name in this store.")]


@group.command("add")
def add(
    name: Name,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A folder, file://, ssh:// or https://.")
    ],
    push: Annotated[
        bool, typer.Option("--push", help="Publish the results of builds there.")
    ] = False,
    priority: Annotated[
        int,
        typer.Option(
            "--priority", min=0, metavar="N", help="prov asks remotes with a lower N first."
        ),
    ] = 50,
    trust: Annotated[
        str,
        typer.Option(
            "--trust",
            metavar="keys|any-signed|none",
            help="Use results signed by these; see above.",
        ),
    ] = "",
    signers: Annotated[
        str,
        typer.Option(
            "--signers", metavar="FILE", help="The allowed signers, in ssh-keygen's format."
        ),
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            "--key", metavar="FILE|gpg:ID", help="Sign publications with this ssh or GnuPG key."
        ),
    ] = "",
    workdirs: Annotated[
        bool, typer.Option("--with-workdirs", help="Also publish the WORKDIRs and logs of builds.")
    ] = False,
    devices: Annotated[
        bool,
        typer.Option("--devices", help="Accept outputs with device nodes, as in BitBake packages."),
    ] = False,
    claims: Annotated[
        bool,
        typer.Option(
            "--claims", help="Wait for tasks that another build runs, instead of running them too."
        ),
    ] = False,
    limit: Annotated[
        int,
        typer.Option("--push-limit", metavar="MB", min=1, help="Split pushes larger than this."),
    ] = 1024,
    list_limit: Annotated[
        int,
        typer.Option(
            "--list-limit",
            metavar="MB",
            min=1,
            help="Reject fetched lists, such as an index, larger than this.",
        ),
    ] = 64,
    record_limit: Annotated[
        int,
        typer.Option(
            "--record-limit",
            metavar="MB",
            min=1,
            help="Reject fetched trees, logs and records larger than this.",
        ),
    ] = 16,
    store: StoreOption = None,
) -> None:
    """Add a remote, or change it.

    prov creates a missing folder. --trust keys, the default except for your own folders, uses
    results signed by a key in the --signers file; any-signed accepts any key; none uses all
    results.

    Examples:

        prov remote add team file:///srv/cache --push
        prov remote add team https://cache.example.org/team --signers team.keys
    """
    opened = create_store(store)
    new = settings.make_remote(
        name,
        os.path.expanduser(url),
        Path.cwd(),
        trust=trust,
        signers=os.path.expanduser(signers),
        push=push,
        priority=priority,
        key=signing_key(key),
        limit=limit << 20,
        list_limit=list_limit << 20,
        record_limit=record_limit << 20,
        workdirs=workdirs,
        devices=devices,
        claims=claims,
    )
    new = _with_kind(new)
    _make_folder(new)
    settings.write_remote(opened, new)
    words = [new.name, address.without_password(new.url), f"trust {new.trust}"]
    if new.push:
        words.append("push")
    if new.claims:
        words.append("claims")
    if new.static:
        words.append("plain files")
    say("  ".join(words))


def _with_kind(remote: settings.Remote) -> settings.Remote:
    """Return the remote, marked as a static cache if its server has one."""
    try:
        return opening.with_kind(remote, access.Access(dict(os.environ)))
    except errors.Unreachable as error:
        remark(
            f"{error.words}: assuming a git repository; if it is a static cache, add it again later"
        )
        return remote


def _make_folder(remote: settings.Remote) -> None:
    """Create a cache in the folder of a remote with a path.

    Raises RemoteError if the folder has other files.
    """
    folder = address.folder_of(remote.url)
    if folder is None or (folder / "HEAD").exists() or (folder / ".git").exists():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.RemoteError(
            f"{folder} is neither empty nor a git repository", hint="name an empty folder"
        )
    git.make_bare(folder)
    note(f"created an empty cache in {folder}")


@group.command("remove")
def remove(name: Name, store: StoreOption = None) -> None:
    """Remove a remote from this store.

    Fetched results stay.

    Example:

        prov remote remove team
    """
    opened = open_store(store)
    settings.remove_remote(opened, name)
    opening.forget_memory(opened, name)


@group.command("gc")
def gc(
    name: Name,
    days: Annotated[
        float,
        typer.Option(
            "--days", min=0, metavar="N", help="Keep results published or used in the last N days."
        ),
    ] = 30.0,
    builds: Annotated[
        int,
        typer.Option(
            "--builds", min=0, metavar="N", help="Keep the results of the last N publications."
        ),
    ] = 20,
    size: Annotated[
        str,
        typer.Option(
            "--size",
            metavar="SIZE",
            help="Also delete the least recently used until the rest fits in SIZE (20G).",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print what would be deleted; delete nothing.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Delete old results from a remote.

    Each task's last published result stays. The command is safe beside other publishers. Sizes are
    sizes on disk.

    Example:

        prov remote gc team --days 90
    """
    opened = open_store(store)
    remote = opening.open_git_remote(settings.find_remote(opened, name), opened, user_access())
    rules = shrink.RemoteRules(days, builds, parse_size(size) if size else None)
    if dry_run:
        _show_expired(remote, rules)
        return
    shrunk = shrink.shrink(remote, lambda: shrink.expired(remote, rules, time.time()))
    deleted = count_text(len(shrunk.removed), "result")
    say(f"{deleted} deleted, {size_text(shrunk.size)} on disk; {shrunk.remaining} kept")
    note_all(shrunk.notes)
    if not shrink.free(remote):
        note("the server frees the space when it collects garbage")


def _show_expired(remote: git_remote.GitRemote, rules: shrink.RemoteRules) -> None:
    remote.refresh()
    expired = shrink.expired(remote, rules, time.time())
    results = count_text(len(expired), "result")
    size = sum(task.size for task in expired)
    left = len(shrink.remaining_results(remote, expired))
    say(f"{results} would be deleted, {size_text(size)} on disk; {left} kept")


@group.command("list")
def list_(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Contact each remote and update its index.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List remotes in the order in which prov asks them.

    With --refresh, the exit status is 1 if a remote does not answer.

    Example:

        prov remote list --refresh
    """
    opened = open_store(store)
    remotes = settings.read_remotes(opened)
    opened_caches = caches.Caches(opened, remotes, user_access())
    if refresh:
        opened_caches.refresh(whole=True)
    rows = _rows(opened, remotes, opened_caches)
    note_all(text.removesuffix("; continuing without it") for text in opened_caches.notes)
    if json:
        say_json("remotes", remotes=[asdict(row) for row in rows])
    else:
        for row in rows:
            _print_row(row)
    if opened_caches.failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Row:
    """The printed facts of a remote."""

    name: str
    url: str
    priority: int
    trust: str
    push: bool
    claims: bool
    results: int | None
    """Number of results; None before the first contact."""
    problem: str
    """Why the last push failed; empty if it succeeded."""


def _rows(
    store: repository.Store, remotes: list[settings.Remote], opened: caches.Caches
) -> list[_Row]:
    counts = {
        cache.name: cache.index.count() for cache in opened.opened() if cache.index.get("policy")
    }
    return [
        _Row(
            remote.name,
            address.without_password(remote.url),
            remote.priority,
            remote.trust,
            remote.push,
            remote.claims,
            counts.get(remote.name),
            pushing.last_problem(store, remote.name),
        )
        for remote in remotes
    ]


def _print_row(row: _Row) -> None:
    words = [row.name, row.url, f"trust {row.trust}"]
    if row.push:
        words.append("push")
    if row.claims:
        words.append("claims")
    words.append("not contacted yet" if row.results is None else count_text(row.results, "result"))
    say("  ".join(words))
    if row.problem:
        say(f"    the last push failed: {row.problem}")
