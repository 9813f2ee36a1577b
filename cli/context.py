"""Where a command works: the project's folder and its store, from options, the environment, or the
current folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from prov.bitbake import setup
from prov.errors import ProvError
from prov.recipes import project as projects
from prov.scheduler import session as sessions
from prov.store import repository
from prov.sysroot import compose
from prov.upkeep import rules

from .output import remark

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

BuildArgument = Annotated[
    str, typer.Argument(metavar="[BUILD]", help="latest (the default), latest~2, a label, an id.")
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
        return [_plain(item) for item in name]
    return name and _plain(name)


def _plain(name: str) -> str:
    return re.sub(r"^([^:/]+/)?mc:([\w-]+):(?=[^:])", r"\1mc.\2.", name)


def root() -> Path:
    """Return the nearest folder, upwards, with a prov.toml or with a BitBake build that prov
    records; else this one.
    """
    return setup.find_build(Path.cwd()) or projects.find_root(Path.cwd())


def store_path(option: Path | None) -> Path:
    """Return the store's folder: of --store, of $PROV_STORE, or of the project."""
    variable = os.environ.get("PROV_STORE")
    if option:
        return option.absolute()
    return Path(variable).absolute() if variable else root() / STORE_FOLDER


def open_store(option: Path | None) -> repository.Store:
    """Open the store. Raises StoreError if there is none."""
    return repository.Store.open(store_path(option))


def open_project(store: repository.Store, settings: list[str] | None) -> projects.Project:
    """Load the current folder's project, with the variables of --set. Raises BadParameter."""
    overrides = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} has no =; as in --set CFLAGS=-O3")
        overrides[name] = value
    return projects.Project.load(root(), overrides=overrides, memory=store.cache / "parsed")


def project_here() -> projects.Project | None:
    """Load the current folder's project; return None if there is none."""
    folder = root()
    if not (folder / projects.PROJECT_FILE).is_file():
        return None
    return projects.Project.load(folder)


def work_here() -> Path | None:
    """Return the folder of the WORKDIRs of the current folder's project; None without a project."""
    project = project_here()
    return None if project is None else project.builddir / "work"


def _settings_here() -> Mapping[str, Any]:
    """Return the settings in prov.toml; none without a project."""
    project = project_here()
    return project.settings if project else {}


def sandbox_here() -> str:
    """Return `sandbox` in prov.toml; nothing without a project."""
    return str(_settings_here().get("sandbox", ""))


def exclude_here() -> list[str]:
    """Return `exclude` in prov.toml, what captures leave out: patterns, as gitignore has them."""
    return list(_settings_here().get("exclude", []))


def rules_here() -> rules.Rules:
    """Return the rules of garbage collection: those in prov.toml, or the defaults."""
    return rules.rules_from(_settings_here(), str(root() / projects.PROJECT_FILE))[0]


def session_here(store: repository.Store, settings: list[str] | None) -> sessions.Session | None:
    """Return a session for the current folder's project; None without a project."""
    has_project = (root() / projects.PROJECT_FILE).is_file()
    return open_session(store.path, settings) if has_project else None


def open_session(
    option: Path | None,
    settings: list[str] | None,
    *,
    sandbox: str = "",
    offline: bool = False,
    create: bool = False,
) -> sessions.Session:
    """Open project and store; `create` makes the store where there is none, as building does."""
    if not (root() / projects.PROJECT_FILE).is_file():
        raise ProvError(
            f"there is no {projects.PROJECT_FILE} here or above", hint="`prov init` makes one"
        )
    path = store_path(option)
    store = repository.Store.create(path) if create else repository.Store.open(path)
    return sessions.Session(
        open_project(store, settings),
        store,
        partial(compose.sysroots_of, store),
        dict(os.environ),
        sandbox,
        offline,
        remark,
    )
