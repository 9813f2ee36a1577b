"""Recipes: plain data joined from recipe files, inherited classes and settings.

Values are unexpanded; `prov.recipes.variables` expands them when they are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Architecture = Literal["target", "native", "cross", "allarch", "machine"]
InputKind = Literal["sources", "patches"]
Interpreter = Literal["sh", "python3"]
SysrootScope = Literal["task", "recipe"]
INPUT_KINDS: tuple[InputKind, ...] = get_args(InputKind)
INTERPRETERS: tuple[Interpreter, ...] = get_args(Interpreter)
NATIVE = "-native"

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOOLCHAIN = "@toolchain"
"""The entry of `hosttools` for the programs listed in the variable HOSTTOOLS_TOOLCHAIN."""
RESERVED_NAMES = ("failed", "outside")
"""Names that recipes cannot have, because they are parts of the ref namespace."""

TEMP = "temp"
SYSROOT, SYSROOT_NATIVE = "recipe-sysroot", "recipe-sysroot-native"
NEVER_RECORDED = (TEMP, SYSROOT, SYSROOT_NATIVE)
"""prov's own folders in each WORKDIR, which are never recorded."""
OWN_FOLDERS = (*NEVER_RECORDED, *INPUT_KINDS)
KEPT_MARK = ".prov-keep"
"""Suffix of the marker file next to a source with `unpack = false`."""
LONGEST_NAME = 200
"""Maximum bytes in the name of a source, label or run.

File systems allow 255, and prov and git derive longer names from these.
"""
LONGEST_RECIPE, LONGEST_TASK = 100, 60
"""Maximum bytes. Some file names contain an architecture, a recipe and a task."""

Raw = dict[str, Any]
"""A table of a TOML file."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of a recipe: a local file or folder, a downloaded file, or a git commit."""

    name: str
    """Its name below `sources/`."""
    file: Path | None = None
    url: str = ""
    sha256: str = ""
    git: str = ""
    commit: str = ""
    unpack: bool = True
    exclude: tuple[str, ...] = ()
    """gitignore patterns of files to exclude from a local folder."""
    gitignore: bool = False
    """Whether a local folder's `.gitignore` files also exclude files."""
    submodules: bool | None = None
    """Whether to fetch a git commit's submodules; None if the recipe does not say."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a recipe, as written: names and selectors unresolved, values unexpanded."""

    name: str
    script: str
    interpreter: str = "sh"
    dir: str = "${WORKDIR}"
    after: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    outputdir: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    postprocess: str = ""
    hosttools: tuple[str, ...] = ()
    vardeps: tuple[str, ...] = ()
    vardepsexclude: tuple[str, ...] = ()
    network: bool = False
    deploy: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable's unexpanded value, its origin, and the values it replaced."""

    value: str
    origin: str
    replaced: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete recipe, joined from its file, its classes and the settings."""

    name: str
    version: str
    arch: str
    path: Path
    inherit: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    depends_native: tuple[str, ...] = ()
    rdepends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    patches: tuple[Path, ...] = ()
    build: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    variables: Mapping[str, Setting] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    packages: Mapping[str, Raw] = field(default_factory=dict)
    sysroot: str = "task"
    """`task`: a task sees only its own `needs`. `recipe`: also those of the tasks before it."""
    sysroot_owner: Mapping[bytes, str] = field(default_factory=dict)
    """Path in a sysroot -> the recipe whose file is used on a conflict."""
    direct: bool = False
    """Whether its packages are used from a folder of their own, never from a sysroot."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What builds record about the recipe for bills of materials; unexpanded, part of no hash."""

    @property
    def base_name(self) -> str:
        """The name without `-native`: BitBake's BPN."""
        return self.name.removesuffix(NATIVE)

    def exports(self, task: Task) -> tuple[str, ...]:
        """Return the variables to export to a task: none unless it uses @toolchain."""
        return self.export if TOOLCHAIN in task.hosttools else ()


def native_name(name: str) -> str:
    """Return the name of a recipe's `-native` variant."""
    return name if name.endswith(NATIVE) else name + NATIVE


def sources_json(recipe: Recipe) -> str:
    """Return the value of the variable SOURCES: JSON that describes a recipe's sources."""
    fields = ("name", "url", "sha256", "git", "commit", "unpack", "submodules")
    return json.dumps(
        [{name: getattr(source, name) for name in fields} for source in recipe.sources]
    )
