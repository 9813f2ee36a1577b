"""`prov diff`."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prov.records.keys import TaskKey
from prov.text import printable

from .context import JsonOption, StoreOption, open_store, plain_name
from .elsewhere import fetching
from .output import colour, count_text, note, pass_on, say, say_exact, say_json

if TYPE_CHECKING:
    from prov.history.causes import BuildDifference
    from prov.history.names import Found
    from prov.records.build_list import BuildList
    from prov.store.repository import Store

BOLD, RED, GREEN, CYAN, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[m"
_COLOURS = {"@": CYAN, "-": RED, "+": GREEN}
_SUMMARY = re.compile(r"( .* \| +\d+ )(\+*)(-*)")
"""A line of --stat."""
FILES = 20
"""Of each target's output, how many paths a difference between builds shows."""


def diff(
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
    from prov.history.diff import diff_pairs, git_diff

    opened = open_store(store)
    if _is_build(opened, name):
        _builds(opened, name, other, json=json)
        return
    old, new = fetching(opened, lambda: _sides(opened, name, other))
    if tool:
        raise typer.Exit(_with_tool(opened, tool, old, new))
    found = diff_pairs(opened.objects, old.pair, new.pair)
    if json:
        say_json("diff", old=old.name, new=new.name, differences=[asdict(each) for each in found])
    elif stat or patch:
        data = git_diff(opened, old.pair, new.pair, stat_only=stat)
        if colour():
            pass_on(_coloured_diff(data))
        else:
            say_exact(data)
        for each in found:
            if each.beyond_git:
                say(each.line)
    else:
        for each in found:
            say(each.line)


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
    return f"{start}{line}{PLAIN}" if start and line else line


def _is_build(store: Store, name: str) -> bool:
    """Tell whether a build is meant; what names neither that nor a tree is told as an unknown
    build.
    """
    from prov.errors import NameUnknown
    from prov.history.builds import find_build
    from prov.history.names import find

    if ":" in name:
        return False
    try:
        find_build(store, name)
    except NameUnknown as error:
        try:
            find(store, name)
        except NameUnknown:
            raise error from None
        return False
    return True


def _sides(store: Store, name: str, other: str) -> tuple[Found, Found]:
    from prov.errors import NameUnknown
    from prov.history.names import Found, find
    from prov.records.lookup import Records

    new = find(store, name)
    if other:
        return new, find(store, other)
    parents = store.objects.commit(new.commit).parents if new.commit else ()
    if not parents:
        raise NameUnknown(
            f"{name} has no WORKDIR before it", hint="give a second name to compare with"
        )
    return Found(f"{name}@before", Records(store).workdir(parents[0]), parents[0]), new


def _with_tool(store: Store, tool: str, old: Found, new: Found) -> int:
    from prov.history.diff import run_tool
    from prov.worktree.checkout import checkout

    with tempfile.TemporaryDirectory(prefix="prov-diff-") as folder:
        for side, found in (("old", old), ("new", new)):
            checkout(store.objects, Path(folder, side), found.pair)
        return run_tool(shlex.split(tool), f"{folder}/old", f"{folder}/new")


# builds


def _builds(store: Store, name: str, other: str, *, json: bool) -> None:
    from prov.history.builds import find_build, walk_builds
    from prov.history.causes import build_difference

    old = find_build(store, name) if other else _before(find_build(store, name), name)
    new = find_build(store, other or name)
    if not other and not new.happened():
        note(f"note: nothing was to be done in build {new.commit.hex()[:12]}")
        new = next((each for each in walk_builds(new) if each.happened()), new)
        old = _before(new, name)
    found = build_difference(store.objects, old, new)
    files = {
        key: lines
        for key in new.facts().get("targets", "").split()
        if (lines := _files(store, old, new, TaskKey(key)))
    }
    if json:
        _builds_json(store, (old.commit.hex(), new.commit.hex()), found, files)
    else:
        say(f"build {old.commit.hex()[:12]} -> {new.commit.hex()[:12]}")
        _print_builds(store, found, files)


def _before(build: BuildList, name: str) -> BuildList:
    from prov.errors import NameUnknown

    before = build.before()
    if before is None:
        raise NameUnknown(
            f"{name} is the first build", hint="name a second build to compare it with"
        )
    return before


def _files(store: Store, old: object, new: object, key: TaskKey) -> list[str]:
    from prov.history.diff import diff_pairs
    from prov.records.build_list import BuildList
    from prov.records.output import read_pair

    assert isinstance(old, BuildList) and isinstance(new, BuildList)
    outputs = [
        line.output
        for line in (old.line(key), new.line(key))
        if line is not None and line.output is not None
    ]
    if len(outputs) != 2 or outputs[0] == outputs[1]:
        return []
    pairs = [read_pair(store.objects, output) for output in outputs]
    return [each.line for each in diff_pairs(store.objects, pairs[0], pairs[1])]


def _builds_json(
    store: Store, ids: tuple[str, str], found: BuildDifference, files: dict[str, list[str]]
) -> None:
    from prov.history.inputs import difference_text

    causes = [
        {
            "kind": each.change.kind,
            "name": each.change.name,
            "tasks": list(each.tasks),
            "diff": difference_text(store.objects, each.change),
        }
        for each in found.causes
    ]
    tasks = [
        {
            "task": each.key,
            "old": each.old and each.old.task_hash.hex(),
            "new": each.new and each.new.task_hash.hex(),
            "failed": bool(each.new and each.new.output is None),
            "root_cause": bool(each.own),
        }
        for each in found.tasks
    ]
    recipes = {
        "versions": dict(found.versions),
        "added": list(found.added),
        "removed": list(found.removed),
    }
    say_json(
        "build diff",
        old=ids[0],
        new=ids[1],
        recipes=recipes,
        causes=causes,
        tasks=tasks,
        files=files,
    )


def _print_builds(store: Store, found: BuildDifference, files: dict[str, list[str]]) -> None:
    from prov.history.inputs import difference_text
    from prov.text import few

    if not found.tasks:
        say("no task is another")
    for recipe, (before, after) in found.versions.items():
        say(f"version of {recipe}: {before} -> {after}")
    for what, names in (
        ("new recipes", found.added),
        ("recipes that are not in it", found.removed),
    ):
        if names:
            say(f"{what}: {', '.join(names)}")
    failed = [each.key for each in found.tasks if each.new is not None and each.new.output is None]
    if found.causes:
        say("root causes:")
    for each in found.causes:
        again = each.change.kind == "same inputs" and each.tasks[0] in failed
        say(f"  {each.tasks[0]} failed with the same inputs" if again else f"  {each.title}")
        for line in difference_text(store.objects, each.change):
            say(f"    {line}")
        if each.change.kind != "same inputs":
            say(f"    in {few(each.tasks)}")
    if failed:
        say(f"failed: {', '.join(failed)}")
    if found.followed:
        say(f"followed: {count_text(len(found.followed), 'task')}: {few(found.followed)}")
    for key, lines in files.items():
        say(f"files of {key}:")
        for line in lines[:FILES]:
            say(f"  {line}")
        if len(lines) > FILES:
            say(f"  and {len(lines) - FILES} more")
