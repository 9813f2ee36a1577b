"""Parse and check TOML files; unchanged files are read from a cache."""

from __future__ import annotations

import contextlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import RecipeError
from prov.files import read_cache, write_cache
from prov.recipes.checks import check
from prov.recipes.recipe import Raw
from prov.recipes.tables import RecipeTable

CACHE_FORMAT = 3
"""Version of the cache. Increase it when checks become stricter."""

FileState = tuple[int, int, int, int]
"""Modification time (ns), size (bytes), inode and change time (ns) of a parsed file."""


@dataclass(slots=True)
class ParsedFiles:
    """Parsed and checked recipe and class files.

    They are cached with the files' states, because parsing costs more than the rest of a plan.
    """

    memory: Path | None = None
    """The cache file."""
    _cached: dict[str, tuple[FileState, Raw]] = field(default_factory=dict)
    """Path -> the file's state and its table, without script files."""
    _complete: dict[Path, Raw] = field(default_factory=dict)
    """Path -> the table with script files read in."""
    _loaded: bool = False
    _changed: bool = False

    def parse(self, path: Path) -> Raw:
        """Return a file's table, with its tasks' script files read in.

        Raises RecipeError if the file is invalid, OSError if it is missing.
        """
        table = self._complete.get(path)
        if table is None:
            table = self._complete[path] = _with_script_files(self._parsed(path), path)
        return table

    def _parsed(self, path: Path) -> Raw:
        self._load()
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
        cached = self._cached.get(str(path))
        if cached is not None and cached[0] == state:
            return cached[1]
        table = parse_toml(path)
        check(table, RecipeTable, str(path))
        self._cached[str(path)] = (state, table)
        self._changed = True
        return table

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        if self.memory is not None:
            cache_format, tables = read_cache(self.memory) or (None, {})
            if cache_format == CACHE_FORMAT:
                self._cached = tables

    def save(self) -> None:
        """Write the cache if any file was parsed."""
        if self.memory is None or not self._changed:
            return
        self._changed = False
        with contextlib.suppress(OSError):  # the cache only saves time
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            write_cache(self.memory, (CACHE_FORMAT, self._cached))


def parse_toml(path: Path) -> Raw:
    """Return a TOML file's table. Raises RecipeError with the file and the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot read the file: {error.strerror}", hint="check its permissions and type"
        ) from error
    except (ValueError, RecursionError) as error:
        # not TOML, not UTF-8, a huge number, or thousands of brackets
        raise RecipeError(
            f"{path}: invalid TOML: {str(error)[:500]}",
            hint='correct the syntax; texts need quotes, as in key = "text"',
        ) from error


def _with_script_files(table: Raw, path: Path) -> Raw:
    """Return a file's table in which each task's `script_file` is read into its `script`."""
    tasks = {name: _with_script(task, path, name) for name, task in table.get("tasks", {}).items()}
    return table | {"tasks": tasks} if tasks else table


def _with_script(task: Raw, path: Path, name: str) -> Raw:
    if "script_file" not in task:
        return task
    return task | {"script": _script_text(path, name, task["script_file"])}


def _script_text(path: Path, task: str, name: str) -> str:
    file = path.parent / name
    try:
        if file.is_file():
            return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise RecipeError(
            f"{path}: tasks.{task}.script_file: cannot read {name[:200]!r}: {error}",
            hint="use a readable file of UTF-8 text",
        ) from error
    raise RecipeError(
        f"{path}: tasks.{task}.script_file: {file} does not exist",
        hint=f"use a path relative to {path.name}",
    )
