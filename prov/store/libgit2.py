"""Read objects and settings with libgit2, without the user's configuration.

Importing pygit2 takes 50 ms, as long as many commands. So `odb` and `view` import this module in
the functions that need it: few commands read a loose object, a delta, or an unusual configuration.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import pygit2
from pygit2.enums import ConfigLevel, ObjectType

from prov.errors import CHECK_STORE, StoreError
from prov.store.objects import Kind, Oid
from prov.store.view import read_configuration

Answer = TypeVar("Answer")

_KINDS: dict[int, Kind] = {
    ObjectType.COMMIT: "commit",
    ObjectType.TREE: "tree",
    ObjectType.BLOB: "blob",
    ObjectType.TAG: "tag",
}


@cache
def _seal() -> None:
    """Restrict libgit2 to the repository's configuration, as `git_environment` does for git."""
    for level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
        pygit2.settings.search_path[level] = os.devnull
    pygit2.settings.owner_validation = False


def open_repository(git_dir: Path) -> pygit2.Repository:
    """Open a store. Raises StoreError if libgit2 fails."""
    _seal()
    with contextlib.suppress(OSError):
        read_configuration(git_dir)  # libgit2 would block on a pipe, and follow includes
    try:
        return pygit2.Repository(str(git_dir))
    except pygit2.GitError as error:
        raise StoreError(
            f"cannot open {git_dir}: {error}", hint="run `prov fsck` to list the damage"
        ) from error


class GitObjects:
    """The objects of a repository, in all forms that git writes."""

    def __init__(self, git_dir: Path) -> None:
        self._git_dir = git_dir
        self._repository = open_repository(git_dir)

    def __contains__(self, oid: Oid) -> bool:
        return oid.hex() in self._repository

    def header(self, oid: Oid) -> tuple[Kind, int]:
        """Return an object's kind and its size in bytes. Raises StoreError."""
        kind, size = self._ask(oid, lambda odb: odb.read_header(oid.hex()))
        return _KINDS[kind], size

    def read(self, oid: Oid) -> tuple[Kind, bytes]:
        """Return an object's kind and content. Raises StoreError."""
        kind, data = self._ask(oid, lambda odb: odb.read(oid.hex()))
        return _KINDS[kind], data

    def _ask(self, oid: Oid, ask: Callable[[pygit2.Odb], tuple[int, Answer]]) -> tuple[int, Answer]:
        try:
            return ask(self._repository.odb)
        except KeyError as error:
            raise StoreError(
                f"object {oid.hex()} is missing from {self._git_dir}",
                hint="run `prov fsck` to list missing objects",
            ) from error
        except pygit2.GitError as error:
            raise StoreError(
                f"object {oid.hex()} in {self._git_dir} is damaged: {error}", hint=CHECK_STORE
            ) from error


def read_setting(configuration: Path, name: str) -> str | None:
    """Return a setting (`core.bare`) in a configuration file, or None if it is not set."""
    try:
        return pygit2.Config(str(configuration))[name]
    except (KeyError, ValueError, pygit2.GitError):
        return None
