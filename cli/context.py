"""Where a command works: the project's folder and its store, from options, the environment, or the
current folder.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import note

if TYPE_CHECKING:
    from prov.recipes.project import Project
    from prov.scheduler.session import Session
    from prov.store.repository import Store
    from prov.upkeep.retention import Rules

STORE_FOLDER = ".prov"

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR", help="The store; else $PROV_STORE, else .prov beside prov.toml."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="[RECIPE:]NAME=VALUE", help="Set a variable, over every recipe."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, with a schema version; its texts are exact.")
]

BuildOption = Annotated[
    str,
    typer.Option(
        "--build", metavar="BUILD", help="latest, latest~2, a label, or the beginning of an id."
    ),
]


def plain_name(name: str | list[str] | None) -> str | list[str] | None:
    """Return `mc:NAME:RECIPE:TASK`, BitBake's name of a task, as the store writes it; any other
    name as it is.
    """
    if isinstance(name, list):
        return [_plain(each) for each in name]
    return name and _plain(name)


def _plain(name: str) -> str:
    return re.sub(r"^([^:/]+/)?mc:([\w-]+):(?=[^:])", r"\1mc.\2.", name)


def root() -> Path:
    """Return the nearest folder, upwards, with a prov.toml or with a BitBake build that prov
    records; else this one.
    """
    from prov.bitbake.setup import find_build
    from prov.recipes.project import find_root

    return find_build(Path.cwd()) or find_root(Path.cwd())


def store_path(option: Path | None) -> Path:
    chosen = option or (Path(os.environ["PROV_STORE"]) if os.environ.get("PROV_STORE") else None)
    return chosen.absolute() if chosen else root() / STORE_FOLDER


def open_store(option: Path | None) -> Store:
    from prov.store.repository import Store

    return Store.open(store_path(option))


def open_project(store: Store, settings: list[str] | None) -> Project:
    from prov.recipes.project import Project

    overrides = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} has no =; as in --set CFLAGS=-O3")
        overrides[name] = value
    return Project.load(root(), overrides=overrides, memory=store.cache / "parsed")


def work_here() -> Path | None:
    """Return the folder of the WORKDIRs of the current folder's project, or None where there is
    none.
    """
    from prov.recipes.project import PROJECT_FILE, Project

    return Project.load(root()).builddir / "work" if (root() / PROJECT_FILE).is_file() else None


def sandbox_here() -> str:
    """Return what the current folder's project says of the sandbox, or nothing where there is
    none.
    """
    from prov.recipes.project import PROJECT_FILE, Project

    return (
        str(Project.load(root()).settings.get("sandbox", ""))
        if (root() / PROJECT_FILE).is_file()
        else ""
    )


def exclude_here() -> list[str]:
    """Return what the current folder's project excludes from captures: patterns, as gitignore has
    them.
    """
    from prov.recipes.project import PROJECT_FILE, Project

    return (
        list(Project.load(root()).settings.get("exclude", []))
        if (root() / PROJECT_FILE).is_file()
        else []
    )


def rules_here() -> Rules:
    """Return what is collected by: as the current folder's project says, or the defaults."""
    from prov.recipes.project import PROJECT_FILE, Project
    from prov.upkeep.retention import rules_from

    path = root() / PROJECT_FILE
    return rules_from(Project.load(root()).settings if path.is_file() else {}, str(path))[0]


def session_here(store: Store, settings: list[str] | None) -> Session | None:
    """Return a session for the project of the current folder, or None where there is none."""
    from prov.recipes.project import PROJECT_FILE

    return open_session(store.path, settings) if (root() / PROJECT_FILE).is_file() else None


def open_session(
    option: Path | None,
    settings: list[str] | None,
    *,
    sandbox: str = "",
    offline: bool = False,
    create: bool = False,
) -> Session:
    """Open project and store; `create` makes the store where there is none, as building does."""
    from prov.errors import ProvError
    from prov.recipes.project import PROJECT_FILE
    from prov.scheduler.session import Session
    from prov.store.repository import Store
    from prov.sysroot.compose import sysroots_of

    if not (root() / PROJECT_FILE).is_file():
        raise ProvError(f"there is no {PROJECT_FILE} here or above", hint="`prov init` makes one")
    path = store_path(option)
    store = Store.create(path) if create else Store.open(path)

    def report(text: str) -> None:
        note(f"note: {text}")

    project = open_project(store, settings)
    return Session(
        project, store, partial(sysroots_of, store), dict(os.environ), sandbox, offline, report
    )
