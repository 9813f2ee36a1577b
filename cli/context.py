"""The project folder and the store of a command.

They come from options, from the environment, or from the current folder.
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
from prov.errors import ProvError, StoreError
from prov.recipes import PROJECT_FILE
from prov.recipes import project as projects
from prov.scheduler import session as sessions
from prov.store import repository
from prov.sysroot import compose
from prov.upkeep import rules

from .output import remark

STORE_FOLDER = ".prov"


def _store_option(ctx: typer.Context, option: Path | None) -> Path | None:
    """Return a command's --store, or that of `prov --store DIR COMMAND`."""
    return option or ctx.obj


StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Use this store. Default: $PROV_STORE, or .prov in the project folder.",
        callback=_store_option,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="[RECIPE:]NAME=VALUE", help="Override a variable. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

BuildArgument = Annotated[
    str,
    typer.Argument(metavar="BUILD", help="latest, latest~2, a label, or an id. Default: latest."),
]
BuildOption = Annotated[
    str,
    typer.Option(
        "--build", metavar="BUILD", help="Use the run in this build: latest~2, a label, or an id."
    ),
]


_AT_BUILD = re.compile(r"([^@]+:[^@]+)@\{([^{}]+)\}(.*)", re.DOTALL)
_MULTICONFIG = re.compile(r"^([^:/]+/)?mc:([\w-]+):(?=[^:])")


def plain_name(name: str | list[str] | None) -> str | list[str] | None:
    """Return a name in the form that the library reads.

    `NAME@{BUILD}`, a form like git's, becomes `BUILD/NAME`. BitBake's `mc:CONFIG:RECIPE:TASK`
    becomes the store's `mc.CONFIG.RECIPE:TASK`.
    """
    if isinstance(name, list):
        return [_plain(item) for item in name]
    return name and _plain(name)


def _plain(name: str) -> str:
    at_build = _AT_BUILD.fullmatch(name)
    if at_build is not None:
        task, build, rest = at_build.groups()
        name = f"{build}/{task}{rest}"
    return _MULTICONFIG.sub(r"\1mc.\2.", name)


def root() -> Path:
    """Return the project folder.

    This is the current folder or its nearest parent with a prov.toml, a store, or a BitBake build
    that prov records; the current folder if none has them. A prov.toml above a folder with a store
    belongs to a different project.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        has_store = (folder / STORE_FOLDER).is_dir()
        if has_store or (folder / PROJECT_FILE).is_file() or setup.is_build(folder):
            return folder
    return here


def store_path(option: Path | None) -> Path:
    """Return the store's folder: from --store, from $PROV_STORE, or in the project folder."""
    variable = os.environ.get("PROV_STORE")
    if option:
        return option.absolute()
    return Path(variable).absolute() if variable else root() / STORE_FOLDER


def open_store(option: Path | None) -> repository.Store:
    """Open the store. Raises StoreError if it does not exist."""
    return repository.Store.open(store_path(option))


def create_store(option: Path | None) -> repository.Store:
    """Open the store, or create it. git ignores a new store in a work tree."""
    path = store_path(option)
    is_new = not path.exists()
    store = repository.Store.create(path)
    if is_new:
        hide_store(path)
    return store


def hide_store(path: Path) -> None:
    """Make git ignore a store in a work tree, and print a remark."""
    from prov.wrapped.work_tree import WorkTree  # only new stores need it

    work_tree = WorkTree.containing(path.parent)
    if work_tree is None:
        return
    try:
        if not work_tree.is_ignored(path):
            remark(f"git ignores the store: added to {work_tree.exclude(path)}")
    except (OSError, StoreError) as error:
        remark(f"git may not ignore the store: {error}; add {path.name}/ to .gitignore")


def open_project(store: repository.Store, settings: list[str] | None) -> projects.Project:
    """Load the project, with the variables of --set. Raises BadParameter."""
    overrides = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} has no '=': write --set CFLAGS=-O3")
        overrides[name] = value
    return projects.Project.load(root(), overrides=overrides, memory=store.cache / "parsed")


def project_here() -> projects.Project | None:
    """Return the project, or None if the project folder has no prov.toml."""
    folder = root()
    if not (folder / PROJECT_FILE).is_file():
        return None
    return projects.Project.load(folder)


def work_here() -> Path | None:
    """Return the folder of the project's WORKDIRs; None without a project."""
    project = project_here()
    return None if project is None else project.builddir / "work"


def _settings_here() -> Mapping[str, Any]:
    """Return the settings in prov.toml; none without a project."""
    project = project_here()
    return project.settings if project else {}


def sandbox_here() -> str:
    """Return `sandbox` in prov.toml; empty without a project."""
    return str(_settings_here().get("sandbox", ""))


def exclude_here() -> list[str]:
    """Return `exclude` in prov.toml: gitignore patterns of paths that captures skip."""
    return list(_settings_here().get("exclude", []))


def rules_here() -> rules.Rules:
    """Return the rules of garbage collection: those in prov.toml, or the defaults."""
    return rules.rules_from(_settings_here(), str(root() / PROJECT_FILE))[0]


def has_project() -> bool:
    """Return whether the project folder has a prov.toml."""
    return (root() / PROJECT_FILE).is_file()


def session_here(store: repository.Store, settings: list[str] | None) -> sessions.Session | None:
    """Return a session for the project; None without a project."""
    return open_session(store.path, settings) if has_project() else None


def open_session(
    option: Path | None,
    settings: list[str] | None,
    *,
    sandbox: str = "",
    offline: bool = False,
    create: bool = False,
) -> sessions.Session:
    """Open the project and its store; with `create`, create a missing store as a build does.

    Raises ProvError without a project.
    """
    if not has_project():
        raise ProvError(
            f"this command needs recipes: neither {root()} nor a folder above has a {PROJECT_FILE}",
            hint="run `prov init` to create one",
        )
    store = create_store(option) if create else open_store(option)
    return sessions.Session(
        open_project(store, settings),
        store,
        partial(compose.sysroots_of, store),
        dict(os.environ),
        sandbox,
        offline,
        remark,
    )
