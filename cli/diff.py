"""`prov diff`."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from prov.errors import NameUnknown
from prov.history import builds, diff, directories
from prov.records import ids, lookup
from prov.store import repository
from prov.text import printable
from prov.worktree import checkout

from .build_diff import show_build_diff
from .context import JsonOption, StoreOption, open_store, plain_name
from .fetching import fetching
from .output import (
    BOLD,
    CYAN,
    GREEN,
    PLAIN,
    RED,
    colour,
    pass_on,
    say,
    say_exact,
    say_json,
)
from .pager import paged

_COLOURS = {"@": CYAN, "-": RED, "+": GREEN}
_SUMMARY = re.compile(r"( .* \| +\d+ )(\+*)(-*)")
"""A line of --stat."""


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A task, a tag, recipe:task@output, or a build.",
            callback=plain_name,
        ),
    ],
    other: Annotated[
        str,
        typer.Argument(
            metavar="OTHER",
            help="What to compare NAME with. Default: the state before the task or build.",
            callback=plain_name,
        ),
    ] = "",
    stat: Annotated[
        bool, typer.Option("--stat", help="Show git's summary of changed lines.")
    ] = False,
    patch: Annotated[
        bool,
        typer.Option("--patch", "-p", help="Show git's patch. In a pipe, it can be applied."),
    ] = False,
    tool: Annotated[
        str,
        typer.Option(
            "--tool", metavar="COMMAND", help="Check both sides out and run COMMAND OLD NEW."
        ),
    ] = "",
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show what a task changed, or compare runs or builds.

    NAME alone is compared with the state before it. Each line begins with A added, D deleted, R
    renamed, M content, P permissions, T type, or X other attributes. For builds, prov prints the
    root causes first. --stat and --patch also list the changes that git cannot show.

    Examples:

        prov diff zlib:install --stat
        prov diff latest~1/zlib:install zlib:install
        prov diff latest
    """
    opened = open_store(store)
    if _is_build(opened, name):
        with paged():
            show_build_diff(opened, name, other, json=json)
        return
    old, new = fetching(opened, lambda: _sides(opened, name, other))
    if tool:
        raise typer.Exit(_with_tool(opened, tool, old, new))
    differences = diff.diff_pairs(opened.objects, old.pair, new.pair)
    if json:
        rows = [difference.table() for difference in differences]
        say_json("diff", old=old.name, new=new.name, differences=rows)
        return
    with paged():
        if stat or patch:
            _print_git_diff(diff.git_diff(opened, old.pair, new.pair, stat_only=stat))
            differences = [difference for difference in differences if difference.beyond_git]
        for difference in differences:
            say(difference.line)


def _print_git_diff(data: bytes) -> None:
    if colour():
        pass_on(_coloured_diff(data))
    else:
        say_exact(data)


def _coloured_diff(data: bytes) -> bytes:
    """Return git's diff in git's colours, with control characters escaped.

    git cannot add the colours, because prov would escape them.
    """
    lines, header = [], False
    for line in printable(data.decode("utf-8", "backslashreplace")).split("\n"):
        header = line.startswith("diff ") or (header and not line.startswith("@@ "))
        lines.append(_coloured(line, header=header))
    return "\n".join(lines).encode(sys.stdout.encoding, "backslashreplace")


def _coloured(line: str, *, header: bool) -> str:
    summary = _SUMMARY.fullmatch(line)
    if summary is not None:
        return f"{summary[1]}{GREEN}{summary[2]}{RED}{summary[3]}{PLAIN}"
    start = BOLD if header else _COLOURS.get(line[:1], "")
    if not start or not line:
        return line
    return f"{start}{line}{PLAIN}"


def _is_build(store: repository.Store, name: str) -> bool:
    """Return whether a name refers to a build and not to a tree.

    Raises NameUnknown if it refers to neither.
    """
    if ":" in name:
        return False
    try:
        builds.find_build(store, name)
    except NameUnknown as error:
        try:
            directories.find_directory(store, name)
        except NameUnknown:
            raise error from None
        return False
    return True


def _sides(
    store: repository.Store, name: str, other: str
) -> tuple[directories.NamedDirectory, directories.NamedDirectory]:
    """Return the two trees to compare: by default a task's WORKDIR before and after."""
    first = directories.find_directory(store, name)
    if other:
        return first, directories.find_directory(store, other)
    parents = store.objects.commit(first.commit).parents if first.commit else ()
    if not parents:
        raise NameUnknown(
            f"{name} has no earlier WORKDIR", hint="pass a second name to compare with"
        )
    before = ids.CommitId(parents[0])
    workdir = lookup.Records(store).workdir(before)
    return directories.NamedDirectory(f"{name}@before", workdir, before), first


def _with_tool(
    store: repository.Store,
    tool: str,
    old: directories.NamedDirectory,
    new: directories.NamedDirectory,
) -> int:
    """Check both trees out and run a tool on them; return its exit status."""
    with tempfile.TemporaryDirectory(prefix="prov-diff-") as folder:
        checkout.checkout(store.objects, Path(folder, "old"), old.pair)
        checkout.checkout(store.objects, Path(folder, "new"), new.pair)
        return diff.run_tool(shlex.split(tool), f"{folder}/old", f"{folder}/new")
