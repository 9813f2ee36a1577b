"""Recipes: what a TOML file, the classes that it inherits and the settings say, checked and joined.

A `Recipe` is plain data. Values are unexpanded; `prov.recipes.variables` expands them, late. Every
mistake is one line that names the file and the key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prov.errors import RecipeError
from prov.text import nearest

ARCHITECTURES = ("target", "native", "cross", "allarch", "machine")
NATIVE = "-native"
INPUT_KINDS = ("sources", "patches")
INTERPRETERS = ("sh", "python3")

_RECIPE_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")
_TASK_NAME = re.compile(r"[a-z][a-z0-9_]*")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOOLCHAIN = "@toolchain"
"""Among a task's `hosttools`: the compiler and what belongs to it, as the variable
HOSTTOOLS_TOOLCHAIN lists them.
"""
SYSROOTS = ("task", "recipe")
RESERVED_NAMES = ("failed", "outside")
"""Recipe names that would be taken for a part of the ref namespace."""

TEMP = "temp"
SYSROOT, SYSROOT_NATIVE = "recipe-sysroot", "recipe-sysroot-native"
NEVER_RECORDED = (TEMP, SYSROOT, SYSROOT_NATIVE)
"""prov's own folders in every WORKDIR, which are no part of what is recorded of it."""
OWN_FOLDERS = (*NEVER_RECORDED, *INPUT_KINDS)
KEPT_MARK = ".prov-keep"
"""What the name of a file ends with that says of a source that it is not to be unpacked."""
LONGEST_NAME = 200
"""Of sources, labels and runs, in bytes: file systems allow 255, and prov and git make longer names
of these.
"""
LONGEST_RECIPE, LONGEST_TASK = 100, 60
"""In bytes: files are named after architecture, recipe and task together."""

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a recipe builds from: a local file or folder, an https file, or a git
    commit.
    """

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
    """One task of a recipe, as written: names and selectors are not resolved, values not
    expanded.
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
        """Return the variables in the environment of a task: the recipe's exports, where the
        toolchain is used.
        """
        return self.export if TOOLCHAIN in task.hosttools else ()


_TEXTS = "a list of texts"
_RECIPE_KEYS: dict[str, str] = {
    "name": "a text",
    "version": "a text",
    "summary": "a text",
    "license": "a text",
    "arch": "a text",
    "inherit": _TEXTS,
    "classextend": _TEXTS,
    "depends": _TEXTS,
    "depends_native": _TEXTS,
    "rdepends": _TEXTS,
    "provides": _TEXTS,
    "patches": _TEXTS,
    "build": _TEXTS,
    "export": _TEXTS,
    "sources": "a list of tables",
    "variables": "a table",
    "functions": "a table",
    "tasks": "a table",
    "packages": "a table",
    "native": "a table",
    "sysroot": "a text",
    "sysroot_owner": "a table",
    "direct": "true or false",
}
_TASK_KEYS: dict[str, str] = {
    "script": "a text",
    "script_file": "a text",
    "interpreter": "a text",
    "dir": "a text",
    "after": _TEXTS,
    "from": _TEXTS,
    "needs": _TEXTS,
    "outputdir": "a text or a list of texts",
    "inputs": _TEXTS,
    "postprocess": "a text",
    "hosttools": _TEXTS,
    "vardeps": _TEXTS,
    "vardepsexclude": _TEXTS,
    "network": "true or false",
    "deploy": "true or false",
}
_SOURCE_KEYS: dict[str, str] = {
    "file": "a text",
    "url": "a text",
    "sha256": "a text",
    "git": "a text",
    "commit": "a text",
    "name": "a text",
    "unpack": "true or false",
    "submodules": "true or false",
    "exclude": _TEXTS,
    "gitignore": "true or false",
}
_PACKAGE_KEYS: dict[str, str] = {
    "files": _TEXTS,
    "rdepends": _TEXTS,
    "summary": "a text",
    "allow_empty": "true or false",
    "postinst": "a text",
    "postinst_depends_native": _TEXTS,
}
_JOINED_LISTS = (
    "inherit",
    "depends",
    "depends_native",
    "rdepends",
    "provides",
    "patches",
    "build",
    "export",
    "sources",
)


def _is(value: object, kind: str) -> bool:
    if kind == "a text":
        return isinstance(value, str)
    if kind == "true or false":
        return isinstance(value, bool)
    if kind == "a table":
        return isinstance(value, dict)
    if kind == "a number":
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 40
        )
    if kind == "a list of tables":
        return isinstance(value, list) and all(isinstance(item, dict) for item in value)
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return texts or (kind == "a text or a list of texts" and isinstance(value, str))


def check_keys(table: Raw, keys: dict[str, str], where: str) -> None:
    """Raise RecipeError for a key that is not one of `keys`, or a value of another kind."""
    for key, value in table.items():
        if key not in keys:
            raise RecipeError(
                f"{where}: unknown key `{key}`",
                hint=nearest(key, keys) or f"known keys: {', '.join(keys)}",
            )
        if not _is(value, keys[key]):
            raise RecipeError(f"{where}: `{key}` must be {keys[key]}, not {value!r}")


def check_raw(raw: Raw, where: str, *, variant: bool = False) -> None:
    """Check one file's tables, before anything is joined. Raises RecipeError."""
    check_keys(
        raw,
        {key: kind for key, kind in _RECIPE_KEYS.items() if not (variant and key == "native")},
        where,
    )
    for name, table in raw.get("tasks", {}).items():
        if not _TASK_NAME.fullmatch(name) or len(name) > LONGEST_TASK:
            raise RecipeError(
                f"{where}: `{name}` can't be a task's name",
                hint=f"at most {LONGEST_TASK} lower-case letters, digits and _",
            )
        if not isinstance(table, dict):
            raise RecipeError(f"{where}: `tasks.{name}` must be a table")
        check_keys(table, _TASK_KEYS, f"{where}: tasks.{name}")
    for name, table in raw.get("packages", {}).items():
        if not isinstance(table, dict):
            raise RecipeError(f"{where}: `packages.{name}` must be a table")
        check_keys(table, _PACKAGE_KEYS, f"{where}: packages.{name}")
    for number, table in enumerate(raw.get("sources", [])):
        check_keys(table, _SOURCE_KEYS, f"{where}: sources[{number}]")
    for kind in ("variables", "functions"):
        for name, value in raw.get(kind, {}).items():
            if not VARIABLE_NAME.fullmatch(name):
                raise RecipeError(
                    f"{where}: `{kind}.{name}`: a name has letters, digits and _ only"
                )
            if not isinstance(value, str):
                raise RecipeError(
                    f"{where}: `{kind}.{name}` must be a text, not {value!r}",
                    hint='write it in quotes: "…"',
                )
    if "native" in raw:
        check_raw(raw["native"], f"{where}: native", variant=True)


def join(layers: list[tuple[str, Raw]]) -> tuple[Raw, dict[str, Setting]]:
    """Join tables, later ones over earlier ones; return the table and its variables with their
    origins.

    Dependencies, sources, patches and `build` add up; tasks and packages are joined key by key; all
    else is replaced.
    """
    joined: Raw = {}
    settings: dict[str, Setting] = {}
    for origin, raw in layers:
        for key, value in raw.items():
            if key == "variables":
                for name, text in value.items():
                    settings[name] = override(settings.get(name), text, origin)
            elif key in ("tasks", "packages"):
                tables = joined.setdefault(key, {})
                for name, table in value.items():
                    tables[name] = _join_task(tables.get(name, {}), table)
            elif key in ("functions", "sysroot_owner"):
                joined[key] = joined.get(key, {}) | value
            elif key in _JOINED_LISTS:
                joined[key] = joined.get(key, []) + [
                    item for item in value if item not in joined.get(key, [])
                ]
            else:
                joined[key] = value
    return joined, settings


def _join_task(old: Raw, new: Raw) -> Raw:
    task = old | new
    if "script" in new:
        task.pop("script_file", None)
    if "hosttools" in old and "hosttools" in new:
        task["hosttools"] = old["hosttools"] + [
            tool for tool in new["hosttools"] if tool not in old["hosttools"]
        ]
    return task


def override(old: Setting | None, value: str, origin: str) -> Setting:
    """Return a setting that replaces another and remembers it."""
    if old is None:
        return Setting(value, origin)
    return Setting(value, origin, (*old.replaced, Setting(old.value, old.origin)))


def native_name(name: str) -> str:
    return name if name.endswith(NATIVE) else name + NATIVE


def make_recipe(raw: Raw, settings: dict[str, Setting], path: Path, *, native: bool) -> Recipe:
    """Return the recipe that joined tables describe. Raises RecipeError, naming `path`."""
    where = str(path)
    name, arch = raw.get("name", path.stem), "native" if native else raw.get("arch", "target")
    unfit = (
        ".." in name
        or name.endswith((".lock", "."))
        or name in RESERVED_NAMES
        or len(name) > LONGEST_RECIPE
    )
    if unfit or not _RECIPE_NAME.fullmatch(name):
        raise RecipeError(
            f"{where}: `{name}` can't be a recipe's name",
            hint=(
                f"at most {LONGEST_RECIPE} lower-case letters, digits and + . _ -; see the"
                " reference"
            ),
        )
    if "version" not in raw:
        raise RecipeError(f"{where}: `version` is missing", hint='add version = "1.0"')
    if arch not in ARCHITECTURES:
        raise RecipeError(
            f"{where}: `arch` can't be {arch!r}",
            hint=nearest(arch, ARCHITECTURES) or ", ".join(ARCHITECTURES),
        )
    if raw.get("sysroot", "task") not in SYSROOTS:
        raise RecipeError(
            f"{where}: `sysroot` can't be {raw['sysroot']!r}", hint=" or ".join(SYSROOTS)
        )
    if native:
        name = native_name(name)
    is_native = arch in ("native", "cross")
    depends = tuple(
        native_name(item) if is_native and arch == "native" else item
        for item in raw.get("depends", [])
    )
    return Recipe(
        name=name,
        version=raw["version"],
        arch=arch,
        path=path,
        inherit=tuple(raw.get("inherit", [])),
        depends=depends,
        depends_native=tuple(native_name(item) for item in raw.get("depends_native", [])),
        rdepends=tuple(
            native_name(item) if is_native else item for item in raw.get("rdepends", [])
        ),
        provides=tuple(native_name(item) if native else item for item in raw.get("provides", [])),
        sources=tuple(
            _source(table, path, number) for number, table in enumerate(raw.get("sources", []))
        ),
        patches=tuple(_beside(path, item, "patches") for item in raw.get("patches", [])),
        build=tuple(raw.get("build") or ["populate_sysroot"]),
        export=tuple(raw.get("export", [])),
        variables=settings,
        functions=dict(raw.get("functions", {})),
        tasks={task: _task(task, table, where) for task, table in raw.get("tasks", {}).items()},
        packages=dict(raw.get("packages", {})),
        sysroot=raw.get("sysroot", "task"),
        sysroot_owner=_owners(raw.get("sysroot_owner", {}), where),
        direct=raw.get("direct", False),
    )


def _owners(table: Raw, where: str) -> dict[bytes, str]:
    for path, owner in table.items():
        if not isinstance(owner, str) or not path.strip("/"):
            raise RecipeError(
                f'{where}: `sysroot_owner` is a table of paths and recipes, as in "/usr/bin/ar" ='
                ' "binutils"'
            )
    return {path.strip("/").encode(): owner for path, owner in table.items()}


def sources_json(recipe: Recipe) -> str:
    """Return what a task gets to know of the sources, as the variable SOURCES."""
    fields = ("name", "url", "sha256", "git", "commit", "unpack", "submodules")
    return json.dumps(
        [{name: getattr(source, name) for name in fields} for source in recipe.sources]
    )


def _beside(path: Path, name: str, key: str) -> Path:
    file = path.parent / name
    if not file.exists():
        raise RecipeError(
            f"{path}: {key}: there is no {file}", hint="paths are relative to the recipe's file"
        )
    return file


def _source(table: Raw, path: Path, number: int) -> Source:
    where = f"{path}: sources[{number}]"
    kinds = [kind for kind in ("file", "url", "git") if kind in table]
    if len(kinds) != 1:
        raise RecipeError(f"{where}: needs exactly one of `file`, `url`, `git`")
    where_from = str(table[kinds[0]])
    name = table.get("name", where_from.rstrip("/").rpartition("/")[2])
    if (
        not name
        or "/" in name
        or name in (".", "..")
        or "\0" in name
        or len(os.fsencode(name)) > LONGEST_NAME
    ):
        raise RecipeError(f"{where}: {name!r} can't be a file's name", hint='add name = "…"')
    if name in OWN_FOLDERS or name.endswith(KEPT_MARK):
        raise RecipeError(
            f"{where}: {name!r} is a name that prov uses in a WORKDIR", hint='add name = "…"'
        )
    if "submodules" in table and kinds[0] != "git":
        raise RecipeError(f"{where}: `submodules` goes with `git` only")
    if "sha256" in table and not re.fullmatch("[0-9a-f]{64}", table["sha256"]):
        raise RecipeError(f"{where}: `sha256` must be 64 hex digits")
    for key in ("exclude", "gitignore"):
        if key in table and kinds[0] != "file":
            raise RecipeError(f"{where}: `{key}` goes with `file` only")
    common = {"name": name, "sha256": table.get("sha256", ""), "unpack": table.get("unpack", True)}
    if kinds[0] == "file":
        exclude, gitignore = tuple(table.get("exclude", ())), table.get("gitignore", False)
        return Source(file=path.parent / where_from, exclude=exclude, gitignore=gitignore, **common)
    if kinds[0] == "git":
        if not re.fullmatch("[0-9a-f]{40}", table.get("commit", "")):
            raise RecipeError(
                f"{where}: `git` needs `commit`, 40 hex digits",
                hint="a branch or a tag is not pinned",
            )
        return Source(
            git=where_from, commit=table["commit"], submodules=table.get("submodules"), **common
        )
    if not where_from.startswith(("https://", "http://", "file://")):
        raise RecipeError(
            f"{where}: `url` must begin with https://",
            hint="use `file` for what is beside the recipe",
        )
    if "sha256" not in table:
        raise RecipeError(f"{where}: `url` needs `sha256`", hint=f"sha256sum {name}")
    return Source(url=where_from, **common)


def _task(name: str, table: Raw, where: str) -> Task:
    at = f"{where}: tasks.{name}"
    interpreter = table.get("interpreter", "sh")
    if interpreter not in INTERPRETERS:
        raise RecipeError(
            f"{at}: `interpreter` can't be {interpreter!r}", hint=" or ".join(INTERPRETERS)
        )
    for kind in table.get("inputs", []):
        if kind not in INPUT_KINDS:
            raise RecipeError(
                f"{at}: `inputs` can't be {kind!r}",
                hint=nearest(kind, INPUT_KINDS) or ", ".join(INPUT_KINDS),
            )
    outputdir = table.get("outputdir", [])
    return Task(
        name=name,
        script=table.get("script", ""),
        interpreter=interpreter,
        dir=table.get("dir", "${WORKDIR}"),
        after=tuple(table.get("after", [])),
        from_=tuple(table.get("from", [])),
        needs=tuple(table.get("needs", [])),
        outputdir=(outputdir,) if isinstance(outputdir, str) else tuple(outputdir),
        inputs=tuple(table.get("inputs", [])),
        postprocess=table.get("postprocess", ""),
        hosttools=tuple(table.get("hosttools", [])),
        vardeps=tuple(table.get("vardeps", [])),
        vardepsexclude=tuple(table.get("vardepsexclude", [])),
        network=table.get("network", False),
        deploy=table.get("deploy", False),
    )
