"""Which recipes a task's edges lead to: selectors such as `@depends:TASK`, and names of others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from prov.errors import NameUnknown, RecipeError
from prov.recipes.project import Project
from prov.recipes.recipe import NATIVE, Recipe, native_name
from prov.recipes.variables import expand

SELECTOR = re.compile(r"@(depends|depends_native|runtime|runtime_native):([a-z][a-z0-9_]*)")
BOOTSTRAP = "-initial"
"""Suffix of the names of recipes that build others' first versions."""
_ON_HOST = ("native", "cross")


def is_bootstrap(recipe: str) -> bool:
    """Return whether a recipe builds another's first version, as `gcc-cross-initial` does."""
    return recipe.removesuffix(NATIVE).endswith(BOOTSTRAP)


@dataclass(slots=True)
class Selectors:
    """The recipes that selectors stand for, each looked up once."""

    project: Project
    _names: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(recipe, kind of selector) -> names of recipes."""

    def select(self, recipe: Recipe, kind: str) -> tuple[str, ...]:
        """Return the names of the recipes that a selector in a recipe stands for.

        Raises RecipeError for a name that no recipe provides.
        """
        names = self._names.get((recipe.name, kind))
        if names is None:
            names = self._names[recipe.name, kind] = self._select(recipe, kind)
        return names

    def _select(self, recipe: Recipe, kind: str) -> tuple[str, ...]:
        if kind == "runtime":
            return self._runtime(recipe)
        names: Sequence[str] = recipe.depends
        if kind == "depends_native":
            names = recipe.depends_native
        elif kind == "runtime_native":
            names = self._postinst_tools(recipe)
        return self._with_rdepends(recipe, names)

    def provider(self, asker: Recipe, name: str, where: str = "") -> Recipe:
        """Return the recipe that goes by a name, or provides it.

        Raises RecipeError, which names the recipe that asks, or `where`.
        """
        try:
            return self.project.recipe(name)
        except NameUnknown as error:
            where = where or str(asker.path)
            raise RecipeError(
                f"{where}: {asker.name} needs {name}, which no recipe provides", hint=error.hint
            ) from error

    def run_time(self, recipe: Recipe) -> list[str]:
        """Return the names of all recipes that one needs at run time, transitively."""
        names = self._with_rdepends(recipe, recipe.rdepends)
        return [name for name in names if not is_bootstrap(name)]

    def _with_rdepends(self, asker: Recipe, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of recipes, and of all that these need at run time, transitively."""
        selected: dict[str, None] = {}
        pending = [(asker, name) for name in reversed(names)]
        while pending:
            asked_by, name = pending.pop()
            provider = self.provider(asked_by, name)
            if provider.name not in selected:
                selected[provider.name] = None
                # one for bootstrapping reaches only recipes that name it
                pending += [
                    (provider, other) for other in provider.rdepends if not is_bootstrap(other)
                ]
        return tuple(selected)

    def _postinst_tools(self, recipe: Recipe) -> list[str]:
        """Return the native recipes that the postinst scripts in an image need."""
        return [
            native_name(tool)
            for name in self.select(recipe, "runtime")
            for table in self.project.recipe(name).packages.values()
            for tool in table.get("postinst_depends_native", [])
        ]

    def _runtime(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the recipes whose packages may be needed at run time.

        Those of the packages in IMAGE_INSTALL, and everything that those recipes link with or name,
        transitively: which of them are needed is known when they are packaged.
        """
        selected: set[str] = set()
        names = [*_installed_packages(recipe), *recipe.rdepends]
        pending = [(recipe, name) for name in names]
        while pending:
            asker, name = pending.pop()
            provider = self.provider(asker, self._recipe_of(name))
            if provider.name not in selected and provider.arch not in _ON_HOST:
                selected.add(provider.name)
                names = [*provider.depends, *provider.rdepends, *_needed_packages(provider)]
                pending += [(provider, other) for other in names]
        return tuple(sorted(selected))

    def _recipe_of(self, package: str) -> str:
        """Return the recipe that a package comes from.

        That is the longest name of a recipe with which the package's begins.
        """
        name = package
        while name and self.project.resolve(name) is None:
            name = name.rpartition("-")[0]
        return name or package


def _installed_packages(recipe: Recipe) -> list[str]:
    """Return the packages that an image installs."""
    install = recipe.variables.get("IMAGE_INSTALL")
    if install is None:
        return []
    return expand(install.value, recipe.variables, where=str(recipe.path)).split()


def _needed_packages(recipe: Recipe) -> list[str]:
    """Return the packages that a recipe's packages name in `rdepends`."""
    return [
        expand(name, recipe.variables, where=str(recipe.path))
        for package in recipe.packages.values()
        for name in package.get("rdepends", [])
    ]
