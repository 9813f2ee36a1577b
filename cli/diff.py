"""`prov diff`."""

from __future__ import annotations

import stat as st
from dataclasses import asdict
from typing import Annotated

import typer

from .context import JsonOption, StoreOption, open_store
from .output import colour, say, say_json


def diff(
    name: Annotated[str, typer.Argument(metavar="RECIPE:TASK", help="A task, a tag, or recipe:task@output.")],
    other: Annotated[str, typer.Argument(help="What to compare it with; by default the WORKDIR before the task.")] = "",
    stat: Annotated[bool, typer.Option("--stat", help="git's summary of lines.")] = False,
    patch: Annotated[bool, typer.Option("--patch", "-p", help="git's patch.")] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show what a task changed, or what is different between two runs.

    A added, D removed, M content, P permissions, T type, X other attributes. Example: prov diff zlib:install --stat
    """
    from prov.build.record import Records
    from prov.errors import NameUnknown
    from prov.history.diff import diff_pairs, git_diff
    from prov.history.names import Found, find

    opened = open_store(store)
    new = find(opened, name)
    if other:
        old, new = new, find(opened, other)
    else:
        parents = opened.objects.commit(new.commit).parents if new.commit else ()
        if not parents:
            raise NameUnknown(f"{name} has no WORKDIR before it", hint="give a second name to compare with")
        old = Found(f"{name}@before", Records(opened).workdir(parents[0]), parents[0])
    if stat or patch:
        say(git_diff(opened, old.pair, new.pair, stat_only=stat, colour=colour()).rstrip("\n"))
        return
    found = diff_pairs(opened, old.pair, new.pair)
    if json:
        say_json("diff", old=old.name, new=new.name, differences=[asdict(each) for each in found])
        return
    for each in found:
        modes = ""
        if each.change in ("mode", "type") and each.old_mode is not None and each.new_mode is not None:
            modes = f"  {st.filemode(each.old_mode)} -> {st.filemode(each.new_mode)}"
        say(f"{each.letter} {each.path}{modes}")
