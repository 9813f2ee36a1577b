"""`prov remote`: the caches that a store shares with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store, store_path
from .output import count_text, note, say, say_json

remote = typer.Typer(
    name="remote",
    help=(
        "Share results through git remotes: folders, ssh, http, git servers; or read a static web"
        " server.\n\nExample: prov remote add team /srv/cache --push"
    ),
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")]


@remote.command("add")
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
    from prov.remote.opening import with_kind
    from prov.remote.settings import make_remote, write_remote
    from prov.store.git import make_bare
    from prov.store.repository import Store
    from prov.transport.access import Access
    from prov.transport.address import folder_of, without_password
    from prov.transport.errors import Unreachable

    opened = Store.create(store_path(store))
    made = make_remote(
        name,
        os.path.expanduser(url),
        Path.cwd(),
        trust=trust,
        signers=os.path.expanduser(signers),
        push=push,
        priority=priority,
        key=key if not key or key.startswith("gpg:") else str(Path(key).expanduser().absolute()),
        limit=limit << 20,
        list_limit=list_limit << 20,
        record_limit=record_limit << 20,
        workdirs=workdirs,
        devices=devices,
    )
    try:
        made = with_kind(made, Access(dict(os.environ)))
    except Unreachable as error:
        note(
            f"note: {error.words}: taken for a git repository; add it again if it is a static cache"
        )
    folder = folder_of(made.url)
    if folder is not None and not (folder / "HEAD").exists() and not (folder / ".git").exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            from prov.transport.errors import RemoteError

            raise RemoteError(
                f"{folder} is neither empty nor a git repository", hint="name another folder"
            )
        make_bare(folder)
        note(f"made an empty cache in {folder}")
    write_remote(opened, made)
    more = f"{'  push' if made.push else ''}{'  plain files' if made.static else ''}"
    say(f"{made.name}  {without_password(made.url)}  trust {made.trust}{more}")


@remote.command("remove")
def remove(name: Name, store: StoreOption = None) -> None:
    """Forget a remote; what was fetched from it stays. Example: prov remote remove team"""
    from prov.remote.opening import forget_memory
    from prov.remote.settings import remove_remote

    opened = open_store(store)
    remove_remote(opened, name)
    forget_memory(opened, name)


@remote.command("gc")
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
    import time

    from prov.remote.opening import open_git_remote
    from prov.remote.settings import find_remote
    from prov.remote.shrink import RemoteRules, expired, free, shrink
    from prov.text import parse_size, size_text
    from prov.transport.access import Access

    opened = open_store(store)
    found = open_git_remote(
        find_remote(opened, name), opened, Access(dict(os.environ), interactive=True)
    )
    rules = RemoteRules(days, builds, parse_size(size) if size else None)
    if dry_run:
        found.refresh()
        gone = expired(found, rules, time.time())
        text = (
            f"{count_text(len(gone), 'result')} would go,"
            f" {size_text(sum(task.size for task in gone))} on disk"
        )
        say(f"{text}; {found.index.count() - len(gone)} would stay")
        return
    shrunk = shrink(found, lambda: expired(found, rules, time.time()))
    say(
        f"{count_text(len(shrunk.gone), 'result')} gone, {size_text(shrunk.size)} on disk;"
        f" {shrunk.kept} stay"
    )
    for text in shrunk.notes:
        note(f"note: {text}")
    if not free(found):
        note("the server frees the room when it collects garbage")


@remote.command("list")
def list_(
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask each what is new.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List the remotes in the order prov asks them.

    With --refresh, exit status 1 if one does not answer. Example: prov remote list --refresh
    """
    from prov.remote.settings import read_remotes
    from prov.sharing.caches import Caches
    from prov.sharing.pushing import last_problem
    from prov.transport.access import Access
    from prov.transport.address import without_password

    opened = open_store(store)
    remotes = read_remotes(opened)
    caches = Caches(opened, remotes, Access(dict(os.environ), interactive=True))
    if refresh:
        caches.refresh()
    counts = {each.name: each.index.count() for each in caches.opened() if each.index.get("policy")}
    for text in caches.notes:
        note(f"note: {text.removesuffix('; it is left out of this build')}")
    if json:
        rows = [
            {
                "name": each.name,
                "url": without_password(each.url),
                "priority": each.priority,
                "trust": each.trust,
                "push": each.push,
                "tasks": counts.get(each.name),
                "problem": last_problem(opened, each.name),
            }
            for each in remotes
        ]
        say_json("remotes", remotes=rows)
    for each in remotes if not json else ():
        has = count_text(counts[each.name], "result") if each.name in counts else "not asked yet"
        words = [
            each.name,
            without_password(each.url),
            f"trust {each.trust}",
            *(["push"] if each.push else []),
            has,
        ]
        say("  ".join(words))
        problem = last_problem(opened, each.name)
        if problem:
            say(f"    the last push failed: {problem}")
    if caches.failed:
        raise typer.Exit(1)
