"""`prov remote`: the caches that a store shares with."""

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

from .context import JsonOption, StoreOption, open_store, store_path
from .output import note, note_all, remark, say, say_json
from .sharing import signing_key, user_access

group = typer.Typer(
    help=(
        "Share results through git remotes: folders, ssh, http, git servers; or read a static web"
        " server.\n\nExample: prov remote add team /srv/cache --push"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")]


@group.command("add")
def add(
    name: Name,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="file:///srv/cache, ssh://…, https://…, a folder.")
    ],
    push: Annotated[
        bool, typer.Option("--push", help="Builds publish their results there.")
    ] = False,
    priority: Annotated[
        int, typer.Option("--priority", min=0, help="Smaller ones are asked first.")
    ] = 50,
    trust: Annotated[
        str,
        typer.Option(
            "--trust", metavar="keys|any-signed|none", help="Whose results are used; see above."
        ),
    ] = "",
    signers: Annotated[
        str,
        typer.Option("--signers", metavar="FILE", help="Allowed signers, as ssh-keygen has it."),
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            "--key", metavar="FILE|gpg:ID", help="What to sign with: an ssh key, or GnuPG's."
        ),
    ] = "",
    workdirs: Annotated[
        bool, typer.Option("--with-workdirs", help="Builds publish WORKDIRs and logs, too.")
    ] = False,
    devices: Annotated[
        bool,
        typer.Option(
            "--devices", help="Take outputs with device nodes, as BitBake's packages may have."
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option("--push-limit", metavar="MB", min=1, help="A larger push is split.")
    ] = 1024,
    list_limit: Annotated[
        int,
        typer.Option(
            "--list-limit",
            metavar="MB",
            min=1,
            help="Limit for a list from there, such as an index.",
        ),
    ] = 64,
    record_limit: Annotated[
        int,
        typer.Option(
            "--record-limit", metavar="MB", min=1, help="Limit for a tree, a log and the like."
        ),
    ] = 16,
    store: StoreOption = None,
) -> None:
    """Add a remote, or change one. A folder that does not exist is made.

    Trust `keys`, the default for all but your own folders, takes results that are signed by a key
    in the file of allowed signers; `any-signed` by any key; `none` takes all. Example: prov remote
    add team file:///srv/cache --push
    """
    opened = repository.Store.create(store_path(store))
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
    )
    new = _with_kind(new)
    _make_folder(new)
    settings.write_remote(opened, new)
    words = [new.name, address.without_password(new.url), f"trust {new.trust}"]
    if new.push:
        words.append("push")
    if new.static:
        words.append("plain files")
    say("  ".join(words))


def _with_kind(remote: settings.Remote) -> settings.Remote:
    """Return the remote, as a static cache if its server says so."""
    try:
        return opening.with_kind(remote, access.Access(dict(os.environ)))
    except errors.Unreachable as error:
        remark(f"{error.words}: taken for a git repository; add it again if it is a static cache")
        return remote


def _make_folder(remote: settings.Remote) -> None:
    """Make a cache in a remote's folder, if it is one. Raises RemoteError if the folder has other
    files.
    """
    folder = address.folder_of(remote.url)
    if folder is None or (folder / "HEAD").exists() or (folder / ".git").exists():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.RemoteError(
            f"{folder} is neither empty nor a git repository", hint="name another folder"
        )
    git.make_bare(folder)
    note(f"made an empty cache in {folder}")


@group.command("remove")
def remove(name: Name, store: StoreOption = None) -> None:
    """Forget a remote; what was fetched from it stays. Example: prov remote remove team"""
    opened = open_store(store)
    settings.remove_remote(opened, name)
    opening.forget_memory(opened, name)


@group.command("gc")
def gc(
    name: Name,
    days: Annotated[
        float, typer.Option("--days", min=0, help="Keep what was published or used since.")
    ] = 30.0,
    builds: Annotated[
        int, typer.Option("--builds", min=0, help="Keep what so many publications named last.")
    ] = 20,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="SIZE", help="As in 20G: drop the least recently used until it fits."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would go.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Expire old results at a remote; of each task, what was published last stays.

    Safe beside publishers. Sizes are what results take on disk. Example: prov remote gc team --days
    90
    """
    opened = open_store(store)
    remote = opening.open_git_remote(settings.find_remote(opened, name), opened, user_access())
    rules = shrink.RemoteRules(days, builds, parse_size(size) if size else None)
    if dry_run:
        _show_expired(remote, rules)
        return
    shrunk = shrink.shrink(remote, lambda: shrink.expired(remote, rules, time.time()))
    deleted = count_text(len(shrunk.removed), "result")
    say(f"{deleted} gone, {size_text(shrunk.size)} on disk; {shrunk.remaining} stay")
    note_all(shrunk.notes)
    if not shrink.free(remote):
        note("the server frees the room when it collects garbage")


def _show_expired(remote: git_remote.GitRemote, rules: shrink.RemoteRules) -> None:
    remote.refresh()
    expired = shrink.expired(remote, rules, time.time())
    results = count_text(len(expired), "result")
    size = sum(task.size for task in expired)
    left = remote.index.count() - len(expired)
    say(f"{results} would go, {size_text(size)} on disk; {left} would stay")


@group.command("list")
def list_(
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask each what is new.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List the remotes in the order prov asks them.

    With --refresh, exit status 1 if one does not answer. Example: prov remote list --refresh
    """
    opened = open_store(store)
    remotes = settings.read_remotes(opened)
    opened_caches = caches.Caches(opened, remotes, user_access())
    if refresh:
        opened_caches.refresh()
    rows = _rows(opened, remotes, opened_caches)
    note_all(text.removesuffix("; it is left out of this build") for text in opened_caches.notes)
    if json:
        say_json("remotes", remotes=[asdict(row) for row in rows])
    else:
        for row in rows:
            _print_row(row)
    if opened_caches.failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Row:
    """What is printed of a remote."""

    name: str
    url: str
    priority: int
    trust: str
    push: bool
    tasks: int | None
    """How many results it has; None if it was not asked yet."""
    problem: str
    """Why the last push failed; empty if it did not."""


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
            counts.get(remote.name),
            pushing.last_problem(store, remote.name),
        )
        for remote in remotes
    ]


def _print_row(row: _Row) -> None:
    words = [row.name, row.url, f"trust {row.trust}"]
    if row.push:
        words.append("push")
    words.append("not asked yet" if row.tasks is None else count_text(row.tasks, "result"))
    say("  ".join(words))
    if row.problem:
        say(f"    the last push failed: {row.problem}")
