"""A project: prov.toml, the recipes and classes that it names, and the settings from outside."""

from __future__ import annotations

import contextlib
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import NameUnknown, RecipeError
from prov.recipes.assembly import make_recipe
from prov.recipes.checks import check
from prov.recipes.joining import join, override
from prov.recipes.parsed_files import ParsedFiles, parse_toml
from prov.recipes.recipe import NATIVE, Raw, Recipe, Setting, native_name, sources_json
from prov.recipes.shell_reader import names_in
from prov.recipes.tables import ProjectTable
from prov.text import nearest

PROJECT_FILE = "prov.toml"
CLASSES = Path(__file__).parent / "classes"
_ARCH_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9._+-]{1,60}(?<!\.lock)(?<!\.)")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let a name that no file can have be a mistake of the file that has it."""
    try:
        yield
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}: {str(error.filename)[:200]!r}") from error


@dataclass(slots=True)
class Project:
    """What to build from: recipes by name, made on demand."""

    root: Path
    settings: Raw
    overrides: Mapping[str, str] = field(default_factory=dict)
    """From `--set`: `NAME` or `RECIPE:NAME` to a value."""
    files: ParsedFiles = field(default_factory=ParsedFiles)
    _paths: dict[str, Path] = field(default_factory=dict)
    _extended: set[str] = field(default_factory=set)
    _providers: dict[str, list[str]] = field(default_factory=dict)
    """Name -> the recipes that provide it."""
    _made: dict[str, Recipe] = field(default_factory=dict)
    _class_paths: dict[str, Path] = field(default_factory=dict)
    _declared: dict[str, set[str]] = field(default_factory=dict)
    """Recipe -> its variables, without those that `--set` alone brings."""

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
    def machine(self) -> str:
        return self.overrides.get("MACHINE") or str(self.settings.get("machine", "default"))

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
        """Return the name that keeps the recipe's WORKDIR apart from those for other architectures
        and machines.
        """
        names = {
            "native": f"{self.host_arch}-native",
            "cross": f"{self.host_arch}-cross",
            "allarch": "all",
            "machine": self.machine,
        }
        return names.get(recipe.arch, self.arch)

    def _find_recipes(self) -> None:
        for folder in self.settings.get("recipes", ["recipes"]):
            # no deeper: what is in a recipe's folder may be its sources, which have TOML files of
            # their own
            top = self.root / folder
            for path in sorted([*top.glob("*.toml"), *top.glob("*/*.toml")]):
                raw = self.files.parse(path)
                name = raw.get("name", path.stem)
                if name in self._paths:
                    raise RecipeError(
                        f"{path}: there is another {name} in {self._paths[name]}", hint="rename one"
                    )
                self._paths[name] = path
                if "native" in raw.get("classextend", []):
                    self._extended.add(name)
                for provided in raw.get("provides", []):
                    self._providers.setdefault(provided, []).append(name)
        for provided, names in self._providers.items():
            others = [name for name in names if name != provided]
            if provided in self._paths and others:
                raise RecipeError(
                    f"{self._paths[others[0]]}: provides: {provided} is a recipe of its own"
                    f" ({self._paths[provided]})",
                    hint="take it out of `provides`, or rename that recipe",
                )

    def _check_settings(self) -> None:
        """Refuse settings for what there is not: they would have no effect, and nothing would say
        so.
        """
        file = self.root / PROJECT_FILE
        for name in self.settings.get("recipe", {}):
            if name not in self._paths and self.resolve(name) != name:
                raise RecipeError(
                    f"{file}: recipe.{name}: no recipe is called {name}", hint=self._near(name)
                )
        for name, chosen in self.settings.get("provider", {}).items():
            if chosen not in self._providers.get(name, []):
                known = " or ".join(self._providers.get(name, []))
                raise RecipeError(
                    f"{file}: provider.{name}: {chosen} does not provide it",
                    hint=known or self._near(name),
                )
        for name in (self.machine, self.arch):
            if not _ARCH_NAME.fullmatch(name):
                raise RecipeError(
                    f"{file}: {name!r} can't be a machine or an architecture",
                    hint="at most 60 letters, digits and . _ + -",
                )
        for key in self.overrides:
            self._check_override(key)

    def _check_override(self, key: str) -> None:
        of, _, variable = key.rpartition(":")
        if variable == "MACHINE" and not of:
            return
        if variable == "MACHINE":
            raise RecipeError(
                f"--set {key}: the machine is one for all recipes", hint="--set MACHINE=NAME"
            )
        if of and self.resolve(of) != of:
            raise RecipeError(f"--set {key}: no recipe is called {of}", hint=self._near(of))
        known: set[str] = set()
        for name in [of] if of else [*self.names(), *map(native_name, self._extended)]:
            recipe = self.recipe(name)
            if variable in self._declared[name] or _mentions(recipe, variable):
                return
            known |= self._declared[name]
        owner = f"{of} has no" if of else "no recipe has a"
        raise RecipeError(
            f"--set {key}: {owner} variable {variable}",
            hint=nearest(variable, known) or "`prov var NAME RECIPE` prints a variable's value",
        )

    def _near(self, name: str) -> str:
        return (
            nearest(name, self.known_names()) or f"there are {', '.join(self.known_names()[:20])}"
        )

    def names(self) -> list[str]:
        """Return the names of all recipes, without their `-native` variants."""
        return sorted(self._paths)

    def known_names(self) -> list[str]:
        """Return every name that can be built."""
        return sorted([*self._paths, *map(native_name, self._extended), *self._providers])

    def resolve(self, name: str) -> str | None:
        """Return the recipe that goes by a name or provides it, or None.

        Raises RecipeError if several provide it.
        """
        if name in self._paths or (
            name.endswith(NATIVE) and name.removesuffix(NATIVE) in self._extended
        ):
            return name
        if name in self._providers:
            return self._provider(name)
        base = name.removesuffix(NATIVE)
        if (
            name.endswith(NATIVE)
            and base in self._providers
            and self._provider(base) in self._extended
        ):
            return native_name(self._provider(base))
        return None

    def _provider(self, name: str) -> str:
        chosen = self.settings.get("provider", {}).get(name)
        providers = self._providers[name]
        if chosen is not None:
            return str(chosen)
        if len(providers) > 1:
            paths = ", ".join(str(self._paths[each]) for each in providers)
            raise RecipeError(
                f"{name} is provided by {' and '.join(providers)} ({paths})",
                hint=f'choose one in {PROJECT_FILE}: [provider] {name} = "{providers[0]}"',
            )
        return providers[0]

    def recipe(self, name: str) -> Recipe:
        """Return a recipe.

        Raises NameUnknown with the nearest names, or RecipeError for what is wrong in it.
        """
        resolved = self.resolve(name)
        if resolved is None:
            base = name.removesuffix(NATIVE)
            hint = nearest(name, self.known_names())
            if name.endswith(NATIVE) and base in self._paths:
                hint = f'{self._paths[base]} has no classextend = ["native"]'
            raise NameUnknown(f"no recipe is called {name}", hint=hint)
        made = self._made.get(resolved)
        if made is None:
            with _naming(self._paths.get(resolved) or self._paths[resolved.removesuffix(NATIVE)]):
                made = self._made[resolved] = self._make(resolved)
        return made

    def _make(self, name: str) -> Recipe:
        native = name not in self._paths
        path = self._paths[name.removesuffix(NATIVE) if native else name]
        raw = self.files.parse(path)
        layers: list[tuple[str, Raw]] = [("class base", self._class("base", path))]
        variant = raw.get("native", {}) if native else {}
        inherited = [*raw.get("inherit", []), *variant.get("inherit", [])]
        is_native = native or raw.get("arch") == "native"
        if is_native and "native" not in inherited:
            inherited.append("native")
        done = {"base"}
        for class_name in inherited:
            self._add_class(class_name, path, layers, done)
        layers.append((str(path), raw))
        if variant:
            layers.append((f"{path}: native", variant))
        joined, settings = join(
            [(origin, _with_package_names(layer, name)) for origin, layer in layers]
        )
        joined["name"] = raw.get("name", path.stem)
        if "arch" in raw:
            joined["arch"] = raw["arch"]
        self._apply_settings(settings, name)
        recipe = make_recipe(joined, settings, path, native=native)
        known = {
            "LICENSE": str(joined.get("license", "unknown")),
            "SUMMARY": str(joined.get("summary", "")),
            "PACKAGES": json.dumps(dict(recipe.packages)),
            "SOURCES": sources_json(recipe),
            "PACKAGE_ARCH": "all" if recipe.arch == "allarch" else self.arch_name(recipe),
            "PN": recipe.name,
            "BPN": recipe.base_name,
            "PV": recipe.version,
            "ARCH": self.host_arch if recipe.arch in ("native", "cross") else self.arch,
            "MACHINE": self.machine,
        }
        self._declared[name] |= known.keys()
        for variable, value in known.items():
            if variable not in settings:
                settings[variable] = Setting(value, "prov")
        return recipe

    def _add_class(
        self, name: str, path: Path, layers: list[tuple[str, Raw]], done: set[str]
    ) -> None:
        if name in done:
            return
        done.add(name)
        raw = self._class(name, path)
        for inherited in raw.get("inherit", []):
            self._add_class(inherited, path, layers, done)
        layers.append(
            (f"class {name}", {key: value for key, value in raw.items() if key != "inherit"})
        )

    def _class(self, name: str, asker: Path) -> Raw:
        if name in self._class_paths:
            return self.files.parse(self._class_paths[name])
        folders = [self.root / folder for folder in self.settings.get("classes", ["classes"])] + [
            CLASSES
        ]
        for folder in folders:
            if (folder / f"{name}.toml").is_file():
                self._class_paths[name] = folder / f"{name}.toml"
                return self.files.parse(self._class_paths[name])
        known = {path.stem for folder in folders for path in folder.glob("*.toml")}
        raise RecipeError(
            f"{asker}: inherit: there is no class {name}",
            hint=nearest(name, known) or ", ".join(sorted(known)),
        )

    def _apply_settings(self, settings: dict[str, Setting], name: str) -> None:
        file = str(self.root / PROJECT_FILE)
        own = self.settings.get("recipe", {}).get(name, {})
        for values, origin in (
            (self.settings.get("variables", {}), file),
            (own.get("variables", {}), f"{file}: recipe.{name}"),
        ):
            for variable, value in values.items():
                settings[variable] = override(settings.get(variable), str(value), origin)
        self._declared[name] = set(settings)
        for key, value in self.overrides.items():
            of, _, variable = key.rpartition(":")
            if variable != "MACHINE" and of in ("", name):
                settings[variable] = override(settings.get(variable), value, "--set")


def _mentions(recipe: Recipe, variable: str) -> bool:
    """Return whether a task's script uses a variable that need not be set, as in `${DEBUG:-}`."""
    scripts = [*(task.script for task in recipe.tasks.values()), *recipe.functions.values()]
    names = [names_in(script) for script in scripts]
    return any(variable in each.used and variable in each.assigned for each in names)


def _with_package_names(raw: Raw, name: str) -> Raw:
    """Return a table whose packages go by their real names, so that a recipe can add to those of a
    class.
    """
    if "packages" not in raw:
        return raw
    real = {"${PN}": name, "${BPN}": name.removesuffix(NATIVE)}
    packages = {}
    for key, package in raw["packages"].items():
        for variable, value in real.items():
            key = key.replace(variable, value)
        packages[key] = package
    return raw | {"packages": packages}


def find_root(start: Path) -> Path:
    """Return the nearest folder, from `start` upwards, that has a prov.toml; else `start`
    itself.
    """
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    return start


def allowed_environment(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's variables that a project lets through to its tasks."""
    return {name: environment[name] for name in names if name in environment}
