"""Sources of recipes: the rules of `[[sources]]` that the types of its keys don't express."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import UNSET

from prov.errors import RecipeError
from prov.recipes.recipe import KEPT_MARK, LONGEST_NAME, OWN_FOLDERS, Source
from prov.recipes.tables import SourceTable, given

KINDS = ("file", "url", "git")
SCHEMES = ("https://", "http://", "file://")
_KIND_OF_KEY = {"submodules": "git", "exclude": "file", "gitignore": "file"}
"""Keys that sources of one kind have."""


def make_source(table: SourceTable, recipe_file: Path, where: str) -> Source:
    """Return the source that a table describes; a local one is relative to the recipe's file.

    Raises RecipeError, whose message begins with `where`.
    """
    kinds = [kind for kind in KINDS if getattr(table, kind) is not UNSET]
    if len(kinds) != 1:
        raise RecipeError(f"{where}: needs exactly one of `file`, `url`, `git`")
    (kind,) = kinds
    _check_keys(table, kind, where)
    name = _name(table, getattr(table, kind), where)
    if kind == "url":
        _check_url(table, name, where)
    return Source(
        name=name,
        file=None if table.file is UNSET else recipe_file.parent / table.file,
        url=given(table.url, ""),
        sha256=given(table.sha256, ""),
        git=given(table.git, ""),
        commit=given(table.commit, "") if kind == "git" else "",
        unpack=table.unpack,
        exclude=given(table.exclude, ()),
        gitignore=given(table.gitignore, False),
        submodules=None if table.submodules is UNSET else table.submodules,
    )


def _check_keys(table: SourceTable, kind: str, where: str) -> None:
    """Raise RecipeError for keys that the kind of source has not, or lacks."""
    for key, owner in _KIND_OF_KEY.items():
        if getattr(table, key) is not UNSET and kind != owner:
            raise RecipeError(f"{where}: `{key}` goes with `{owner}` only", hint=f"remove `{key}`")
    if kind == "git" and table.commit is UNSET:
        raise RecipeError(
            f"{where}: `git` needs `commit`, 40 hex digits", hint="a branch or a tag is not pinned"
        )


def _check_url(table: SourceTable, name: str, where: str) -> None:
    if not given(table.url, "").startswith(SCHEMES):
        raise RecipeError(
            f"{where}: `url` must begin with https://",
            hint="use `file` for what is beside the recipe",
        )
    if table.sha256 is UNSET:
        raise RecipeError(f"{where}: `url` needs `sha256`", hint=f"sha256sum {name}")


def _name(table: SourceTable, origin: str, where: str) -> str:
    """Return the source's name below `sources/`. Raises RecipeError."""
    last_part = origin.rstrip("/").rpartition("/")[2]
    name = given(table.name, last_part)
    if not _is_file_name(name):
        raise RecipeError(f"{where}: {name!r} can't be a file's name", hint='add name = "…"')
    if name in OWN_FOLDERS or name.endswith(KEPT_MARK):
        raise RecipeError(
            f"{where}: {name!r} is a name that prov uses in a WORKDIR", hint='add name = "…"'
        )
    return name


def _is_file_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(os.fsencode(name)) <= LONGEST_NAME
    )
