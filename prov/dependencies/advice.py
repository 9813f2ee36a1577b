"""Advise on the dependencies of a project's recipes, from the recorded runs of their tasks."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from prov.dependencies.findings import (
    Floating,
    RecordedReads,
    Runs,
    Transitive,
    Unknown,
    Unused,
    find_floating,
    find_transitive,
    find_unused,
    traced_lookups,
)
from prov.dependencies.idle_tools import IdleTool, find_idle_tools
from prov.dependencies.providers import Provider, provided_files
from prov.dependencies.recorded import ReadsReader
from prov.errors import NameUnknown
from prov.history.sysroot_contents import dependency_chains
from prov.recipes.project import Project
from prov.recipes.recipe import Recipe
from prov.recipes.selectors import Selectors
from prov.records.build_list import BuildList, walk_builds
from prov.records.keys import TaskKey
from prov.store.repository import Store

NATIVE_ARCHITECTURES = ("native", "cross")
"""Recipes of these architectures are in the native sysroot."""
MOST_BUILDS = 100
"""The number of builds, from the newest, in which recipes that provide files are looked up."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What one recipe's recorded reads show about its dependencies."""

    recipe: str
    unused: tuple[Unused, ...] = ()
    floating: tuple[Floating, ...] = ()
    transitive: tuple[Transitive, ...] = ()
    idle: tuple[IdleTool, ...] = ()
    unknown: tuple[Unknown, ...] = ()


@dataclass(slots=True)
class Advisor:
    """Advises on recipes of a project. `minimum` is the number of complete traces to require."""

    store: Store
    project: Project
    minimum: int = 1
    _reader: ReadsReader = field(init=False)
    _providers: list[Provider] | None = None

    def __post_init__(self) -> None:
        self._reader = ReadsReader(self.store)

    def recipes(self) -> list[str]:
        """Return the project's recipes in the latest build."""
        build = BuildList.latest_of_tasks(self.store)
        names = build.recipes() if build is not None else []
        return [name for name in names if self.project.resolve(name) == name]

    def advice(self, name: str) -> Advice:
        """Return the advice for a recipe.

        Raises NameUnknown for an unknown recipe, or one without a build.
        """
        recipe = self.project.recipe(name)
        runs = {key: self._reader.runs(key) for key in self._tasks(recipe.name)}
        chains = self._chains(recipe.name)
        packages = {package for own in runs.values() for run in own[:1] for package in run.has}
        declared = [package for package in packages if len(chains.get(package.recipe, ())) == 1]
        unused, unknown = find_unused(recipe.name, declared, runs, minimum=self.minimum)
        return Advice(
            recipe.name,
            tuple(unused),
            tuple(self._floating(recipe, runs, chains)),
            tuple(find_transitive(recipe.name, chains, self._brought_by(chains), runs)),
            tuple(self._idle(recipe, runs)),
            tuple(unknown),
        )

    def removed_with(self, advice: Advice, names: Collection[str]) -> frozenset[str]:
        """Return the recipes that leave the sysroots of a recipe without some dependencies.

        These are the dependencies, and what only they need at run time. Transitive dependencies
        stay, because the advice declares them.
        """
        chains = self._chains(advice.recipe)
        kept = {name for name, chain in chains.items() if len(chain) == 1} - set(names)
        kept |= {transitive.package.recipe for transitive in advice.transitive}
        selectors = Selectors(self.project)
        for name in tuple(kept):
            kept |= set(selectors.run_time(self.project.recipe(name)))
        return frozenset(chains) - kept

    def _idle(self, recipe: Recipe, runs: Runs) -> Iterator[IdleTool]:
        """Yield the idle host tools that the recipe's own file lists, not those of classes."""
        tasks = tomllib.loads(recipe.path.read_text()).get("tasks", {})
        for idle in find_idle_tools(runs, minimum=self.minimum):
            if idle.tool in tasks.get(idle.task.task, {}).get("hosttools", ()):
                yield idle

    def _tasks(self, recipe: str) -> list[TaskKey]:
        """Return the recipe's tasks in its last build."""
        builds = walk_builds(BuildList.latest(self.store))
        build = next((build for build in builds if build.lines(recipe)), None)
        if build is None:
            raise NameUnknown(
                f"no build of {recipe} is recorded", hint=f"run `prov build {recipe}`"
            )
        return sorted(build.lines(recipe))

    def _chains(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return package's recipe -> the shortest chain of dependencies from a task to it."""
        recipe = self.project.recipe(name)
        shortest: dict[str, tuple[str, ...]] = {}
        for task in recipe.tasks.values():
            for package, chain in dependency_chains(self.project, recipe, task).items():
                if package not in shortest or len(chain) < len(shortest[package]):
                    shortest[package] = chain
        return shortest

    def _brought_by(self, chains: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
        """Return package's recipe -> the recipes in whose run-time dependencies it is."""
        selectors = Selectors(self.project)
        run_time = {name: selectors.run_time(self.project.recipe(name)) for name in chains}
        return {
            name: frozenset(other for other, names in run_time.items() if name in names)
            for name in chains
        }

    def _floating(
        self,
        recipe: Recipe,
        runs: dict[TaskKey, list[RecordedReads]],
        chains: dict[str, tuple[str, ...]],
    ) -> list[Floating]:
        is_native = recipe.arch in NATIVE_ARCHITECTURES
        lookups = traced_lookups(runs)
        for path, texts in self._reader.stated_lookups(list(runs), is_native=is_native).items():
            lookups.setdefault(path, []).extend(texts)
        if not lookups:
            return []
        others = [
            provider
            for provider in self._all_providers()
            if provider.key.recipe != recipe.name and provider.key.recipe not in chains
        ]
        provided = provided_files(self.store.objects, others, lookups)
        cyclic = frozenset(name for name in provided if recipe.name in self._dependencies(name))
        return find_floating(recipe.name, lookups, provided, cyclic)

    def _all_providers(self) -> Sequence[Provider]:
        """Return the last recorded outputs that go into sysroots of any recipe."""
        if self._providers is None:
            recorded = self._recorded_tasks()
            recipes = [self.project.recipe(name) for name in recorded]
            texts = {text for own in recipes for task in own.tasks.values() for text in task.needs}
            tasks = {TaskKey(text).task or text for text in texts}
            native = frozenset(own.name for own in recipes if own.arch in NATIVE_ARCHITECTURES)
            keys = [key for own in recorded.values() for key in own if key.task in tasks]
            self._providers = list(self._reader.providers(keys, native))
        return self._providers

    def _recorded_tasks(self) -> dict[str, list[TaskKey]]:
        """Return recipe of the project -> its tasks in its last build.

        The latest build can be of one recipe, which does not declare what it looks for.
        """
        tasks: dict[str, list[TaskKey]] = {}
        for build in islice(walk_builds(BuildList.latest_of_tasks(self.store)), MOST_BUILDS):
            for name in () if build.is_of_commands else build.recipes():
                if name not in tasks and self.project.resolve(name) == name:
                    tasks[name] = sorted(build.lines(name))
        return dict(sorted(tasks.items()))

    def _dependencies(self, name: str) -> set[str]:
        """Return the recipes that a recipe depends on, transitively."""
        dependencies: set[str] = set()
        pending = [name]
        while pending:
            for other in self._direct(pending.pop()):
                if other not in dependencies:
                    dependencies.add(other)
                    pending.append(other)
        return dependencies

    def _direct(self, name: str) -> Iterator[str]:
        recipe = self.project.recipe(name)
        for other in (*recipe.depends, *recipe.depends_native, *recipe.rdepends):
            resolved = self.project.resolve(other)
            if resolved is not None:
                yield resolved
