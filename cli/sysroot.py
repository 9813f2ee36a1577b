"""`prov sysroot`."""

from __future__ import annotations

import os
import stat
from typing import Annotated, Any

import typer

from prov.errors import NameUnknown
from prov.history import sysroot_contents
from prov.records.keys import TaskKey
from prov.store import repository
from prov.text import count_text, size_text
from prov.worktree import attributes

from .context import JsonOption, SetOption, StoreOption, open_session, plain_name
from .output import say, say_json

TOPS = ("recipe-sysroot-native/", "recipe-sysroot/", "build/sysroot-native/", "build/sysroot/")


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE[:TASK]",
            help="A recipe, or one of its tasks.",
            callback=plain_name,
        ),
    ],
    why: Annotated[
        str,
        typer.Option(
            "--why",
            metavar="PATH",
            help="Show which package PATH is from, and its dependency chain.",
        ),
    ] = "",
    tree: Annotated[
        bool, typer.Option("--tree", help="Also show the number and size of files.")
    ] = False,
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """List the packages in a task's sysroots.

    Example:

        prov sysroot libpng:compile --why usr/include/zlib.h
    """
    session = open_session(store, settings, create=True)
    groups = sysroot_contents.sysroot_contents(session, name)
    if why:
        _why(session.store, name, groups, why, json=json)
    elif json:
        rows = [
            {
                "recipe": group.recipe,
                "tasks": [TaskKey.of(group.recipe, task) for task in group.tasks],
                "packages": [_table(session.store, package) for package in group.packages],
            }
            for group in groups
        ]
        say_json("sysroot", sysroots=rows)
    else:
        for group in groups:
            _print(session.store, group, sizes=tree)


def _table(store: repository.Store, package: sysroot_contents.SysrootPackage) -> dict[str, Any]:
    files, size = sysroot_contents.size_of(store, package)
    return {
        "package": package.key,
        "sysroot": package.sysroot,
        "output": package.output.hex() if package.output else None,
        "chain": list(package.chain),
        "files": files,
        "bytes": size,
    }


def _print(
    store: repository.Store, group: sysroot_contents.SysrootContents, *, sizes: bool
) -> None:
    say(f"{group.recipe}:{','.join(group.tasks)}")
    for sysroot in dict.fromkeys(package.sysroot for package in group.packages):
        say(f"  {sysroot}")
        packages = [package for package in group.packages if package.sysroot == sysroot]
        _print_packages(store, packages, sizes=sizes)
    if not group.packages:
        say("  nothing")


def _print_packages(
    store: repository.Store, packages: list[sysroot_contents.SysrootPackage], *, sizes: bool
) -> None:
    width = max(len(package.key) + 2 * len(package.chain) for package in packages)
    for package in packages:
        text = "  " * (len(package.chain) - 1) + package.key
        if package.output is None:
            text = f"{text:{width}}  not built"
        elif sizes:
            files, size = sysroot_contents.size_of(store, package)
            text = f"{text:{width}} {count_text(files, 'file'):>12} {size_text(size):>10}"
        say(f"    {text}")


def _why(
    store: repository.Store,
    name: str,
    groups: list[sysroot_contents.SysrootContents],
    path: str,
    *,
    json: bool,
) -> None:
    for top in TOPS:
        path = path.lstrip("/").removeprefix(top)
    owners = []
    for package in dict.fromkeys(package for group in groups for package in group.packages):
        node = sysroot_contents.file_in(store, package, os.fsencode(path))
        if node is not None:
            owners.append((package, _kind(node)))
    if not owners:
        raise NameUnknown(
            f"no package in the sysroots of {name} has {path}",
            hint=f"run `prov sysroot {name}` to list the packages",
        )
    if json:
        rows = [{**_table(store, package), "kind": kind} for package, kind in owners]
        say_json("sysroot-why", path=path, packages=rows)
    else:
        for package, kind in owners:
            say(f"{path}  {kind} of {package.key} in {package.sysroot}")
            for step in package.chain:
                say(f"  {step}")


def _kind(node: attributes.FileNode) -> str:
    if node.is_directory:
        return "folder"
    return "link" if stat.S_ISLNK(node.mode) else "file"
