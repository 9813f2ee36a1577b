"""Make recipes from joined tables.

This module checks what involves several keys or the files next to the recipe. `prov.recipes.checks`
checks the types of values.
"""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import UNSET

from prov.errors import RecipeError
from prov.recipes.checks import check
from prov.recipes.recipe import (
    LONGEST_RECIPE,
    RESERVED_NAMES,
    Raw,
    Recipe,
    Setting,
    Task,
    native_name,
)
from prov.recipes.sources import make_source
from prov.recipes.tables import RecipeTable, TaskTable, given

_RECIPE_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")
_DEFAULT_BUILD = ("populate_sysroot",)
UNKNOWN_LICENSE = "unknown"
"""The default of `license`."""


def make_recipe(raw: Raw, settings: dict[str, Setting], path: Path, *, native: bool) -> Recipe:
    """Return the recipe described by joined tables.

    Raises RecipeError; its message starts with `path`.
    """
    where = str(path)
    table = check(raw, RecipeTable, where)
    if table.version is UNSET:
        raise RecipeError(f"{where}: `version` is missing", hint='add version = "1.0"')
    name = _recipe_name(table, path)
    arch = "native" if native else table.arch
    sources = [
        make_source(source, path, f"{where}: sources[{number}]")
        for number, source in enumerate(table.sources)
    ]
    owners = {path.strip("/").encode(): owner for path, owner in table.sysroot_owner.items()}
    return Recipe(
        name=native_name(name) if native else name,
        version=table.version,
        arch=arch,
        path=path,
        inherit=table.inherit,
        depends=_native_names(table.depends, arch == "native"),
        depends_native=tuple(map(native_name, table.depends_native)),
        rdepends=_native_names(table.rdepends, arch in ("native", "cross")),
        provides=_native_names(table.provides, native),
        sources=tuple(sources),
        patches=tuple(_patch(path, patch) for patch in table.patches),
        build=table.build or _DEFAULT_BUILD,
        export=table.export,
        variables=settings,
        functions=table.functions,
        tasks={task: _task(task, fields) for task, fields in table.tasks.items()},
        packages=raw.get("packages", {}),  # unchanged, because the variable PACKAGES is hashed
        sysroot=table.sysroot,
        sysroot_owner=owners,
        direct=table.direct,
        metadata=_metadata(table),
    )


def _metadata(table: RecipeTable) -> dict[str, str]:
    """Return the keys that only describe the recipe, without empty ones."""
    cpes = (table.cpe,) if isinstance(table.cpe, str) else table.cpe
    texts = {
        "license": table.license if table.license != UNKNOWN_LICENSE else "",
        "summary": table.summary,
        "supplier": table.supplier,
        "purl": table.purl,
        "cpe": "\n".join(cpes),
    }
    return {name: text for name, text in texts.items() if text}


def _recipe_name(table: RecipeTable, path: Path) -> str:
    """Return the name in the table, or the file's name by default. Raises RecipeError."""
    name = given(table.name, path.stem)
    has_ref_name = ".." not in name and not name.endswith((".lock", "."))
    is_free = name not in RESERVED_NAMES
    if (
        not has_ref_name
        or not is_free
        or len(name) > LONGEST_RECIPE
        or not _RECIPE_NAME.fullmatch(name)
    ):
        raise RecipeError(
            f"{path}: invalid recipe name `{name}`",
            hint=(
                f"use at most {LONGEST_RECIPE} lower-case letters, digits and + . _ -, but not"
                f" {' or '.join(RESERVED_NAMES)}"
            ),
        )
    return name


def _native_names(names: tuple[str, ...], are_native: bool) -> tuple[str, ...]:
    """Return recipe names, turned into their `-native` variants' names if `are_native`."""
    return tuple(map(native_name, names)) if are_native else names


def _patch(recipe_file: Path, name: str) -> Path:
    file = recipe_file.parent / name
    if not file.exists():
        raise RecipeError(
            f"{recipe_file}: patches: {file} does not exist",
            hint="use a path relative to the recipe file",
        )
    return file


def _task(name: str, table: TaskTable) -> Task:
    folders = table.outputdir
    return Task(
        name=name,
        script=table.script,
        interpreter=table.interpreter,
        dir=table.dir,
        after=table.after,
        from_=table.from_,
        needs=table.needs,
        outputdir=(folders,) if isinstance(folders, str) else folders,
        inputs=table.inputs,
        postprocess=table.postprocess,
        hosttools=table.hosttools,
        vardeps=table.vardeps,
        vardepsexclude=table.vardepsexclude,
        network=table.network,
        deploy=table.deploy,
    )
