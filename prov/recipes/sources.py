"""Check `[[sources]]` beyond the types of its keys, and make sources."""

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
"""Key -> the only kind of source that can have it."""


def make_source(table: SourceTable, recipe_file: Path, where: str) -> Source:
    """Return the source described by a table; local paths are relative to the recipe file.

    Raises RecipeError; its message starts with `where`.
    """
    kinds = [kind for kind in KINDS if getattr(table, kind) is not UNSET]
    if len(kinds) != 1:
        raise RecipeError(
            f"{where}: expected exactly one of `file`, `url`, `git`",
            hint=f"keep only one of {', '.join(kinds)}" if kinds else 'add file = "…"',
        )
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
    """Raise RecipeError for keys that this kind of source cannot have or lacks."""
    for key, owner in _KIND_OF_KEY.items():
        if getattr(table, key) is not UNSET and kind != owner:
            raise RecipeError(
                f"{where}: `{key}` is valid only with `{owner}`", hint=f"remove `{key}`"
            )
    if kind == "git" and table.commit is UNSET:
        raise RecipeError(
            f"{where}: `git` requires `commit`",
            hint="add the 40 hex digits of a commit, not a branch or a tag, which can move",
        )


def _check_url(table: SourceTable, name: str, where: str) -> None:
    if not given(table.url, "").startswith(SCHEMES):
        raise RecipeError(
            f"{where}: `url` must start with https://, http:// or file://",
            hint="use `file` for a path relative to the recipe",
        )
    if table.sha256 is UNSET:
        raise RecipeError(
            f"{where}: `url` requires `sha256`",
            hint=f'add sha256 = "…", as printed by `sha256sum {name}`',
        )


def _name(table: SourceTable, origin: str, where: str) -> str:
    """Return the source's name below `sources/`. Raises RecipeError."""
    last_part = origin.rstrip("/").rpartition("/")[2]
    name = given(table.name, last_part)
    if not _is_file_name(name):
        raise RecipeError(
            f"{where}: invalid file name {name!r}", hint='set a valid one with name = "…"'
        )
    if name in OWN_FOLDERS or name.endswith(KEPT_MARK):
        raise RecipeError(
            f"{where}: the name {name!r} is reserved by prov",
            hint='set a different one with name = "…"',
        )
    return name


def _is_file_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(os.fsencode(name)) <= LONGEST_NAME
    )
