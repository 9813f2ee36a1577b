"""Recipes: what recipe files, the classes that they inherit and the settings are joined to.

A `Recipe` is plain data. Values are unexpanded; `prov.recipes.variables` expands them, late.
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
"""Among a task's `hosttools`: the compiler and what belongs to it, as the variable
HOSTTOOLS_TOOLCHAIN lists them.
"""
RESERVED_NAMES = ("failed", "outside")
"""Recipe names that would be taken for a part of the ref namespace."""

TEMP = "temp"
SYSROOT, SYSROOT_NATIVE = "recipe-sysroot", "recipe-sysroot-native"
NEVER_RECORDED = (TEMP, SYSROOT, SYSROOT_NATIVE)
"""prov's own folders in every WORKDIR, which are not recorded."""
OWN_FOLDERS = (*NEVER_RECORDED, *INPUT_KINDS)
KEPT_MARK = ".prov-keep"
"""Suffix of a marker file beside a source that is not unpacked."""
LONGEST_NAME = 200
"""Bytes of the name of a source, label or run: file systems allow 255, and prov and git make
longer names of these.
"""
LONGEST_RECIPE, LONGEST_TASK = 100, 60
"""In bytes: files are named after architecture, recipe and task together."""

Raw = dict[str, Any]
"""A table of a TOML file."""


@dataclass(frozen=True, slots=True)
class Source:
    """A local file or folder, an https file, or a git commit that a recipe builds from."""

    name: str
    """Its name under `sources/`."""
    file: Path | None = None
    url: str = ""
    sha256: str = ""
    git: str = ""
    commit: str = ""
    unpack: bool = True
    exclude: tuple[str, ...] = ()
    """Of a local folder: patterns, as gitignore has them, of what is not part of the source."""
    gitignore: bool = False
    """Whether what its `.gitignore` files leave out is not part of it either."""
    submodules: bool | None = None
    """Of a git commit: whether its submodules are fetched; None: it has none."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a recipe, as written.

    Names and selectors are not resolved, values not expanded.
    """

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
    """A variable's unexpanded value and where it came from, with the values that it replaced."""

    value: str
    origin: str
    replaced: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe, whole: its own file, its classes and the settings joined."""

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
    """Whether a task sees what it needs itself (`task`), or also what those need that it comes
    after (`recipe`).
    """
    sysroot_owner: Mapping[bytes, str] = field(default_factory=dict)
    """Path in a sysroot -> the recipe whose file is taken where others bring another one."""
    direct: bool = False
    """Its packages are used from a folder of their own, never linked into a sysroot."""

    @property
    def base_name(self) -> str:
        """The name without `-native`: BitBake's BPN."""
        return self.name.removesuffix(NATIVE)

    def exports(self, task: Task) -> tuple[str, ...]:
        """Return the variables in a task's environment: the exports, if it uses the toolchain."""
        return self.export if TOOLCHAIN in task.hosttools else ()


def native_name(name: str) -> str:
    """Return the name of a recipe's `-native` variant."""
    return name if name.endswith(NATIVE) else name + NATIVE


def sources_json(recipe: Recipe) -> str:
    """Return the variable SOURCES: what a task's script can read about its sources."""
    fields = ("name", "url", "sha256", "git", "commit", "unpack", "submodules")
    return json.dumps(
        [{name: getattr(source, name) for name in fields} for source in recipe.sources]
    )
