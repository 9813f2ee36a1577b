"""Resolve selectors such as `@depends:TASK`, and names, to recipes."""

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
"""Suffix of the names of bootstrap recipes."""
_ON_HOST = ("native", "cross")


def is_bootstrap(recipe: str) -> bool:
    """Return whether a recipe builds the first stage of another, such as `gcc-cross-initial`."""
    return recipe.removesuffix(NATIVE).endswith(BOOTSTRAP)


@dataclass(slots=True)
class Selectors:
    """Resolves selectors to recipes and caches the results."""

    project: Project
    _names: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(recipe, kind of selector) -> names of recipes."""

    def select(self, recipe: Recipe, kind: str) -> tuple[str, ...]:
        """Return the names of the recipes that a recipe's selector resolves to.

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
        """Return the recipe that has or provides a name.

        Raises RecipeError; its message starts with `where`, by default the file of `asker`.
        """
        try:
            return self.project.recipe(name)
        except NameUnknown as error:
            where = where or str(asker.path)
            raise RecipeError(
                f"{where}: {asker.name} needs {name}, which no recipe provides", hint=error.hint
            ) from error

    def run_time(self, recipe: Recipe) -> list[str]:
        """Return the names of a recipe's run-time dependencies, transitively."""
        names = self._with_rdepends(recipe, recipe.rdepends)
        return [name for name in names if not is_bootstrap(name)]

    def _with_rdepends(self, asker: Recipe, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of recipes and of their run-time dependencies, transitively."""
        selected: dict[str, None] = {}
        pending = [(asker, name) for name in reversed(names)]
        while pending:
            asked_by, name = pending.pop()
            provider = self.provider(asked_by, name)
            if provider.name not in selected:
                selected[provider.name] = None
                # a bootstrap recipe is used only by recipes that name it directly
                pending += [
                    (provider, other) for other in provider.rdepends if not is_bootstrap(other)
                ]
        return tuple(selected)

    def _postinst_tools(self, recipe: Recipe) -> list[str]:
        """Return the native recipes needed by the postinst scripts in an image."""
        return [
            native_name(tool)
            for name in self.select(recipe, "runtime")
            for table in self.project.recipe(name).packages.values()
            for tool in table.get("postinst_depends_native", [])
        ]

    def _runtime(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the recipes whose packages may be needed at run time.

        These are the recipes of the packages in IMAGE_INSTALL and their build and run-time
        dependencies, transitively. Which of them are really needed is known only after packaging.
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
        """Return the recipe of a package: the longest recipe name that its name starts with."""
        name = package
        while name and self.project.resolve(name) is None:
            name = name.rpartition("-")[0]
        return name or package


def _installed_packages(recipe: Recipe) -> list[str]:
    """Return the packages in an image's IMAGE_INSTALL."""
    install = recipe.variables.get("IMAGE_INSTALL")
    if install is None:
        return []
    return expand(install.value, recipe.variables, where=str(recipe.path)).split()


def _needed_packages(recipe: Recipe) -> list[str]:
    """Return the packages in `rdepends` of a recipe's packages."""
    return [
        expand(name, recipe.variables, where=str(recipe.path))
        for package in recipe.packages.values()
        for name in package.get("rdepends", [])
    ]
