"""`prov diff`."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from dataclasses import asdict
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
from .output import colour, pass_on, say, say_exact, say_json

BOLD, RED, GREEN, CYAN, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[m"
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
            help="What to compare it with; else what was before the task, or build.",
            callback=plain_name,
        ),
    ] = "",
    stat: Annotated[
        bool, typer.Option("--stat", help="git's summary of lines, and what git can't show.")
    ] = False,
    patch: Annotated[
        bool,
        typer.Option(
            "--patch", "-p", help="git's patch, exact in a pipe, and what git can't show."
        ),
    ] = False,
    tool: Annotated[
        str,
        typer.Option(
            "--tool", metavar="COMMAND", help="Run this on both, checked out; as in diffoscope."
        ),
    ] = "",
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show what a task changed, or what is different between two runs, outputs, sysroots or builds.

    A added, D removed, R renamed, M content, P permissions, T type, X other attributes. Of builds,
    root causes come first. Examples: prov diff zlib:install --stat; prov diff latest~1/zlib:install
    zlib:install; prov diff latest
    """
    opened = open_store(store)
    if _is_build(opened, name):
        show_build_diff(opened, name, other, json=json)
        return
    old, new = fetching(opened, lambda: _sides(opened, name, other))
    if tool:
        raise typer.Exit(_with_tool(opened, tool, old, new))
    differences = diff.diff_pairs(opened.objects, old.pair, new.pair)
    if json:
        rows = [asdict(difference) for difference in differences]
        say_json("diff", old=old.name, new=new.name, differences=rows)
        return
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
    """Return git's diff with control characters escaped, coloured as git does it.

    git itself does not colour it: the content of a file may have such sequences, too.
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
    """Return whether a name means a build. Raises NameUnknown if it means neither a build nor a
    tree: as for an unknown build.
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
    """Return what to compare: two trees, or a task's WORKDIR before and after."""
    first = directories.find_directory(store, name)
    if other:
        return first, directories.find_directory(store, other)
    parents = store.objects.commit(first.commit).parents if first.commit else ()
    if not parents:
        raise NameUnknown(
            f"{name} has no WORKDIR before it", hint="give a second name to compare with"
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
    """Run a tool on both trees, checked out; return its exit status."""
    with tempfile.TemporaryDirectory(prefix="prov-diff-") as folder:
        checkout.checkout(store.objects, Path(folder, "old"), old.pair)
        checkout.checkout(store.objects, Path(folder, "new"), new.pair)
        return diff.run_tool(shlex.split(tool), f"{folder}/old", f"{folder}/new")
