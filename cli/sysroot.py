"""`prov sysroot`."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .context import JsonOption, SetOption, StoreOption, open_session, plain_name
from .output import count_text, say, say_json

if TYPE_CHECKING:
    from prov.history.staged import Seen, Staged
    from prov.store.repository import Store

TOPS = ("recipe-sysroot-native/", "recipe-sysroot/", "build/sysroot-native/", "build/sysroot/")


def sysroot(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="Of all tasks that have one, or of one task.",
            callback=plain_name,
        ),
    ],
    why: Annotated[
        str,
        typer.Option(
            "--why", metavar="PATH", help="Which package put a path there, and by which chain."
        ),
    ] = "",
    tree: Annotated[
        bool, typer.Option("--tree", help="List the packages with their sizes.")
    ] = False,
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Show what is in a task's sysroots, and why.

    Example: prov sysroot libpng:compile --why usr/include/zlib.h
    """
    from prov.history.staged import seen_by

    session = open_session(store, settings, create=True)
    seen = seen_by(session, name)
    if why:
        _why(session.store, name, seen, why, json=json)
    elif json:
        groups = [
            {
                "recipe": each.recipe,
                "tasks": list(each.tasks),
                "packages": [_table(session.store, package) for package in each.packages],
            }
            for each in seen
        ]
        say_json("sysroot", sysroots=groups)
    else:
        for each in seen:
            _print(session.store, each, sizes=tree)


def _table(store: Store, package: Staged) -> dict[str, Any]:
    from prov.history.staged import size_of

    files, size = size_of(store, package)
    return {
        "package": package.key,
        "sysroot": package.sysroot,
        "output": package.output.hex() if package.output else None,
        "chain": list(package.chain),
        "files": files,
        "bytes": size,
    }


def _print(store: Store, seen: Seen, *, sizes: bool) -> None:
    from prov.history.staged import size_of
    from prov.text import size_text

    say(f"{seen.recipe}:{','.join(seen.tasks)}")
    for place in dict.fromkeys(each.sysroot for each in seen.packages):
        say(f"  {place}")
        rows = [each for each in seen.packages if each.sysroot == place]
        width = max(len(each.key) + 2 * len(each.chain) for each in rows)
        for each in rows:
            text = "  " * (len(each.chain) - 1) + each.key
            if each.output is None:
                text = f"{text:{width}}  not built"
            elif sizes:
                files, size = size_of(store, each)
                text = f"{text:{width}} {count_text(files, 'file'):>12} {size_text(size):>10}"
            say(f"    {text}")
    if not seen.packages:
        say("  nothing")


def _why(store: Store, name: str, seen: list[Seen], path: str, *, json: bool) -> None:
    from prov.errors import NameUnknown
    from prov.history.staged import brings

    for top in TOPS:
        path = path.lstrip("/").removeprefix(top)
    answers = []
    for package in dict.fromkeys(package for each in seen for package in each.packages):
        node = brings(store, package, os.fsencode(path))
        if node is not None:
            kind = "folder" if node.is_directory else "link" if stat.S_ISLNK(node.mode) else "file"
            answers.append((package, kind))
    if json:
        say_json(
            "sysroot why",
            path=path,
            packages=[{**_table(store, each), "kind": kind} for each, kind in answers],
        )
    for package, kind in [] if json else answers:
        say(f"{path}  {kind} of {package.key} in {package.sysroot}")
        for step in package.chain:
            say(f"  {step}")
    if not answers:
        raise NameUnknown(
            f"no package in the sysroots of {name} has {path}", hint=f"prov sysroot {name} --tree"
        )
