"""A project: prov.toml, its recipes and classes, and settings from the command line."""

from __future__ import annotations

import contextlib
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import NameUnknown, RecipeError
from prov.recipes import PROJECT_FILE
from prov.recipes.assembly import make_recipe
from prov.recipes.checks import check
from prov.recipes.inheritance import Classes, Layer
from prov.recipes.joining import join, override
from prov.recipes.parsed_files import ParsedFiles, parse_toml
from prov.recipes.recipe import NATIVE, Raw, Recipe, Setting, native_name, sources_json
from prov.recipes.shell_reader import names_in
from prov.recipes.tables import ProjectTable
from prov.text import nearest

MACHINE = "MACHINE"
"""The only variable that `--set` sets for the whole project instead of for recipes."""
_ARCH_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9._+-]{1,60}(?<!\.lock)(?<!\.)")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise RecipeError, naming the file at `path`, for an OSError from a file name in it."""
    try:
        yield
    except OSError as error:
        raise RecipeError(
            f"{path}: {error.strerror}: {str(error.filename)[:200]!r}",
            hint="correct this path in the file",
        ) from error


@dataclass(slots=True)
class Project:
    """A project's recipes by name, made on demand."""

    root: Path
    settings: Raw
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Values from `--set`: `NAME` or `RECIPE:NAME` -> value."""
    files: ParsedFiles = field(default_factory=ParsedFiles)
    _classes: Classes = field(init=False)
    _paths: dict[str, Path] = field(default_factory=dict)
    """Name -> the recipe file."""
    _extended: set[str] = field(default_factory=set)
    """Recipes that also have a `-native` variant."""
    _providers: dict[str, list[str]] = field(default_factory=dict)
    """Name -> the recipes that provide it."""
    _recipes: dict[str, Recipe] = field(default_factory=dict)
    """Name -> the recipe; filled on demand."""
    _declared: dict[str, set[str]] = field(default_factory=dict)
    """Recipe -> its variables, without those set only by `--set`."""

    def __post_init__(self) -> None:
        folders = self.settings.get("classes", ["classes"])
        self._classes = Classes(tuple(self.root / folder for folder in folders), self.files)

    @staticmethod
    def load(
        root: Path, *, overrides: Mapping[str, str] | None = None, memory: Path | None = None
    ) -> Project:
        """Read prov.toml and find the recipes. Raises RecipeError."""
        path = root / PROJECT_FILE
        settings = parse_toml(path) if path.exists() else {}
        check(settings, ProjectTable, str(path))
        project = Project(root, settings, dict(overrides or {}), ParsedFiles(memory))
        with _naming(path):
            project._find_recipes()
        project._check_settings()
        project.files.save()
        return project

    @property
    def file(self) -> Path:
        """The project's prov.toml, which may not exist."""
        return self.root / PROJECT_FILE

    @property
    def machine(self) -> str:
        return self.overrides.get(MACHINE) or str(self.settings.get("machine", "default"))

    @property
    def host_arch(self) -> str:
        return platform.machine()

    @property
    def arch(self) -> str:
        return str(self.settings.get("arch", self.host_arch))

    @property
    def builddir(self) -> Path:
        return self.root / str(self.settings.get("builddir", "build"))

    def arch_name(self, recipe: Recipe) -> str:
        """Return the folder name that separates WORKDIRs by architecture and machine."""
        names = {
            "native": f"{self.host_arch}-native",
            "cross": f"{self.host_arch}-cross",
            "allarch": "all",
            "machine": self.machine,
        }
        return names.get(recipe.arch, self.arch)

    def _find_recipes(self) -> None:
        for folder in self.settings.get("recipes", ["recipes"]):
            # no deeper: a recipe's folder may contain sources with TOML files of their own
            top = self.root / folder
            for path in sorted([*top.glob("*.toml"), *top.glob("*/*.toml")]):
                self._add_recipe(path)
        for provided, names in self._providers.items():
            others = [name for name in names if name != provided]
            if provided in self._paths and others:
                raise RecipeError(
                    f"{self._paths[others[0]]}: provides: {provided} is also the name of a recipe"
                    f" ({self._paths[provided]})",
                    hint=f"remove {provided} from `provides`, or rename that recipe",
                )

    def _add_recipe(self, path: Path) -> None:
        table = self.files.parse(path)
        name = table.get("name", path.stem)
        if name in self._paths:
            raise RecipeError(
                f"{path}: name: {self._paths[name]} also defines the recipe {name}",
                hint="rename one of them",
            )
        self._paths[name] = path
        if "native" in table.get("classextend", []):
            self._extended.add(name)
        for provided in table.get("provides", []):
            self._providers.setdefault(provided, []).append(name)

    def _check_settings(self) -> None:
        """Raise RecipeError for a setting of an unknown name, which would have no effect."""
        for name in self.settings.get("recipe", {}):
            if name not in self._paths and self.resolve(name) != name:
                raise RecipeError(
                    f"{self.file}: recipe.{name}: no recipe is named {name}",
                    hint=self._nearest_name(name),
                )
        for name, chosen in self.settings.get("provider", {}).items():
            providers = self._providers.get(name, [])
            if chosen not in providers:
                raise RecipeError(
                    f"{self.file}: provider.{name}: {chosen} does not provide {name}",
                    hint=f"use {' or '.join(providers)}" if providers else self._nearest_name(name),
                )
        for key, name in (("machine", self.machine), ("arch", self.arch)):
            if not _ARCH_NAME.fullmatch(name):
                raise RecipeError(
                    f"{self.file}: {key}: invalid name {name!r}",
                    hint="use at most 60 letters, digits and . _ + -",
                )
        for key in self.overrides:
            self._check_override(key)

    def _check_override(self, key: str) -> None:
        """Raise RecipeError for a `--set` of an unknown recipe or variable."""
        owner, _, variable = key.rpartition(":")
        if variable == MACHINE:
            if owner:
                raise RecipeError(
                    f"--set {key}: MACHINE cannot be set for one recipe",
                    hint="use --set MACHINE=NAME",
                )
            return
        if owner and self.resolve(owner) != owner:
            raise RecipeError(
                f"--set {key}: no recipe is named {owner}", hint=self._nearest_name(owner)
            )
        names = [owner] if owner else [*self.names(), *map(native_name, self._extended)]
        if any(self._has_variable(name, variable) for name in names):
            return
        declared = {other for name in names for other in self._declared[name]}
        subject = f"{owner} has no" if owner else "no recipe has a"
        raise RecipeError(
            f"--set {key}: {subject} variable {variable}",
            hint=nearest(variable, declared) or f"declare {variable} under [variables]",
        )

    def _has_variable(self, name: str, variable: str) -> bool:
        """Return whether a recipe declares a variable or uses it in a script."""
        recipe = self.recipe(name)
        return variable in self._declared[name] or _mentions(recipe, variable)

    def _nearest_name(self, name: str) -> str:
        names = self.known_names()
        return nearest(name, names) or f"use one of {', '.join(names[:20])}"

    def names(self) -> list[str]:
        """Return the names of all recipes, without their `-native` variants."""
        return sorted(self._paths)

    def known_names(self) -> list[str]:
        """Return all names that can be built."""
        return sorted([*self._paths, *map(native_name, self._extended), *self._providers])

    def resolve(self, name: str) -> str | None:
        """Return the name of the recipe that has or provides a name, or None.

        Raises RecipeError if several recipes provide it.
        """
        base = name.removesuffix(NATIVE)
        is_native = name.endswith(NATIVE)
        if name in self._paths or (is_native and base in self._extended):
            return name
        if name in self._providers:
            return self._provider(name)
        if is_native and base in self._providers:
            provider = self._provider(base)
            if provider in self._extended:
                return native_name(provider)
        return None

    def _provider(self, name: str) -> str:
        chosen = self.settings.get("provider", {}).get(name)
        if chosen is not None:
            return str(chosen)
        providers = self._providers[name]
        if len(providers) > 1:
            paths = ", ".join(str(self._paths[provider]) for provider in providers)
            raise RecipeError(
                f"{name} is provided by {' and '.join(providers)} ({paths})",
                hint=f'choose one in {PROJECT_FILE}, such as provider.{name} = "{providers[0]}"',
            )
        return providers[0]

    def recipe(self, name: str) -> Recipe:
        """Return a recipe.

        Raises NameUnknown with the nearest names, or RecipeError if the recipe is invalid.
        """
        resolved = self.resolve(name)
        if resolved is None:
            raise NameUnknown(f"no recipe is named {name}", hint=self._hint_for(name))
        recipe = self._recipes.get(resolved)
        if recipe is None:
            with _naming(self._path(resolved)):
                recipe = self._recipes[resolved] = self._make(resolved)
        return recipe

    def _hint_for(self, name: str) -> str:
        base = name.removesuffix(NATIVE)
        if name.endswith(NATIVE) and base in self._paths:
            return f'add classextend = ["native"] to {self._paths[base]}'
        return nearest(name, self.known_names())

    def _path(self, name: str) -> Path:
        """Return the file of a recipe or of a variant's base recipe."""
        return self._paths.get(name) or self._paths[name.removesuffix(NATIVE)]

    def _make(self, name: str) -> Recipe:
        path = self._path(name)
        table = self.files.parse(path)
        is_variant = name not in self._paths
        layers = self._layers(table, path, is_variant=is_variant)
        joined, settings = join(
            [(origin, _with_package_names(layer, name)) for origin, layer in layers]
        )
        joined["name"] = table.get("name", path.stem)
        if "arch" in table:
            joined["arch"] = table["arch"]
        self._apply_settings(settings, name)
        recipe = make_recipe(joined, settings, path, native=is_variant)
        values = self._own_variables(recipe, joined)
        self._declared[name] |= values.keys()
        for variable, value in values.items():
            settings.setdefault(variable, Setting(value, "prov"))
        return recipe

    def _layers(self, table: Raw, path: Path, *, is_variant: bool) -> list[Layer]:
        """Return the tables to join into a recipe, classes first."""
        variant = table.get("native", {}) if is_variant else {}
        classes = [*table.get("inherit", []), *variant.get("inherit", [])]
        if is_variant or table.get("arch") == "native":
            classes.append("native")  # last, unless the recipe inherits it earlier
        layers = [*self._classes.layers(classes, path), (str(path), table)]
        if variant:
            layers.append((f"{path}: native", variant))
        return layers

    def _own_variables(self, recipe: Recipe, joined: Raw) -> dict[str, str]:
        """Return the variables that prov sets unless the recipe does."""
        runs_on_host = recipe.arch in ("native", "cross")
        return {
            "LICENSE": str(joined.get("license", "unknown")),
            "SUMMARY": str(joined.get("summary", "")),
            "PACKAGES": json.dumps(dict(recipe.packages)),
            "SOURCES": sources_json(recipe),
            "PACKAGE_ARCH": "all" if recipe.arch == "allarch" else self.arch_name(recipe),
            "PN": recipe.name,
            "BPN": recipe.base_name,
            "PV": recipe.version,
            "ARCH": self.host_arch if runs_on_host else self.arch,
            MACHINE: self.machine,
        }

    def _apply_settings(self, settings: dict[str, Setting], name: str) -> None:
        """Override a recipe's variables with those of prov.toml and `--set`."""
        of_recipe = self.settings.get("recipe", {}).get(name, {})
        for values, origin in (
            (self.settings.get("variables", {}), str(self.file)),
            (of_recipe.get("variables", {}), f"{self.file}: recipe.{name}"),
        ):
            for variable, value in values.items():
                settings[variable] = override(settings.get(variable), str(value), origin)
        self._declared[name] = set(settings)
        for key, value in self.overrides.items():
            owner, _, variable = key.rpartition(":")
            if variable != MACHINE and owner in ("", name):
                settings[variable] = override(settings.get(variable), value, "--set")


def _mentions(recipe: Recipe, variable: str) -> bool:
    """Return whether a script uses a variable that may be unset, as in `${DEBUG:-}`."""
    scripts = [*(task.script for task in recipe.tasks.values()), *recipe.functions.values()]
    return any(
        variable in names.used and variable in names.assigned for names in map(names_in, scripts)
    )


def _with_package_names(table: Raw, name: str) -> Raw:
    """Return a table with `${PN}` and `${BPN}` replaced in package names.

    This lets a recipe add to a class's packages.
    """
    if "packages" not in table:
        return table
    base_name = name.removesuffix(NATIVE)
    packages = {
        key.replace("${PN}", name).replace("${BPN}", base_name): package
        for key, package in table["packages"].items()
    }
    return table | {"packages": packages}


def allowed_environment(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment variables that a project passes to its tasks."""
    return {name: environment[name] for name in names if name in environment}
