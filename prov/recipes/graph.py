"""The one task graph: recipes' tasks, their edges resolved to other tasks.

Two kinds of edges: `after` (a task of the same recipe whose WORKDIR is taken over) and, by output,
`from` (put into the WORKDIR at the start) and `needs` (put into the sysroots). No task and no
recipe is special, but for the names of bootstrap variants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prov.errors import NameUnknown, PlanError, RecipeError
from prov.recipes.project import Project
from prov.recipes.recipe import NATIVE, Recipe, Task, native_name
from prov.recipes.variables import expand
from prov.records.keys import TaskKey
from prov.text import nearest

WORLD = "world"
SELECTOR = re.compile(r"@(depends|depends_native|runtime|runtime_native):([a-z][a-z0-9_]*)")
BOOTSTRAP = "-initial"
"""What the names of recipes end with that are there to build others' first versions."""


def is_bootstrap(recipe: str) -> bool:
    """Tell whether a recipe is one that builds others' first versions, such as
    `gcc-cross-initial`.
    """
    return recipe.removesuffix(NATIVE).endswith(BOOTSTRAP)


def tasks_before(recipe: Recipe, task: Task) -> list[Task]:
    """Return the tasks of a recipe that one comes after, directly or not."""
    found: dict[str, None] = {}
    pending = list(task.after)
    while pending:
        name = pending.pop()
        if name not in found and name in recipe.tasks:
            found[name] = None
            pending += recipe.tasks[name].after
    return [recipe.tasks[name] for name in found]


@dataclass(frozen=True, slots=True)
class Node:
    """A task in the graph; edges are the keys (`recipe:task`) of other nodes, in the order that the
    recipe gives.
    """

    key: TaskKey
    recipe: Recipe
    task: Task
    arch: str
    after: tuple[TaskKey, ...]
    from_: tuple[TaskKey, ...]
    needs: tuple[TaskKey, ...]
    direct: frozenset[TaskKey] = frozenset()
    """Those of `needs` that are used from a folder of their own."""
    staging: tuple[str, ...] = ()
    """For each of `needs`, as text: which of its folders go where."""

    @property
    def edges(self) -> tuple[TaskKey, ...]:
        return (*self.after, *self.from_, *self.needs)


@dataclass(frozen=True, slots=True)
class Graph:
    """All tasks that the targets depend on, every task after those in its edges."""

    nodes: dict[TaskKey, Node]
    targets: tuple[TaskKey, ...]

    def chain(self, key: TaskKey) -> str:
        """Return the name of the WORKDIR chain of a task: the first task of those that share its
        WORKDIR.
        """
        node = self.nodes[key]
        while node.after:
            node = self.nodes[node.after[0]]
        return node.task.name


@dataclass(slots=True)
class _Resolver:
    project: Project
    nodes: dict[TaskKey, Node] = field(default_factory=dict)
    resolved: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)

    def node(self, key: TaskKey) -> Node:
        recipe = self.project.recipe(key.recipe)
        task = recipe.tasks[key.task]
        needs = dict.fromkeys(self.edges(recipe, task, task.needs, "needs"))
        if recipe.sysroot == "recipe":
            for before in tasks_before(recipe, task):
                needs |= dict.fromkeys(self.edges(recipe, before, before.needs, "needs"))
        return Node(
            key=key,
            recipe=recipe,
            task=task,
            arch=self.project.arch_name(recipe),
            after=tuple(self.own(recipe, task, name) for name in task.after),
            from_=self.edges(recipe, task, task.from_, "from"),
            needs=tuple(needs),
            direct=frozenset(key for key in needs if self.project.recipe(key.recipe).direct),
            staging=tuple(self.staging(key) for key in needs),
        )

    def staging(self, key: TaskKey) -> str:
        """Return what of an output goes into which sysroot, as it takes part in the hash of who
        sees it.
        """
        known = self.placed.get(key)
        if known is None:
            name, task = key.recipe, key.task
            provider = self.project.recipe(name)
            where = (
                "direct"
                if provider.direct
                else "native"
                if provider.arch in ("native", "cross")
                else "target"
            )
            at = f"{provider.path}: tasks.{task}: outputdir"
            folders = [
                expand(text, provider.variables, where=at, keep=("WORKDIR",))
                for text in provider.tasks[task].outputdir
            ]
            known = self.placed[key] = " ".join([key, where, *folders])
        return known

    def own(self, recipe: Recipe, task: Task, name: str) -> TaskKey:
        if name not in recipe.tasks:
            raise RecipeError(
                f"{recipe.path}: tasks.{task.name}: after: {recipe.name} has no task {name}",
                hint=nearest(name, recipe.tasks),
            )
        return TaskKey.of(recipe.name, name)

    def edges(
        self, recipe: Recipe, task: Task, texts: Iterable[str], kind: str
    ) -> tuple[TaskKey, ...]:
        keys: dict[TaskKey, None] = {}
        for text in texts:
            where = f"{recipe.path}: tasks.{task.name}: {kind}"
            value = expand(text, recipe.variables, where=where)
            selector = SELECTOR.fullmatch(value)
            if selector:
                keys.update(dict.fromkeys(self.select(recipe, selector[1], selector[2])))
            elif value.startswith("@"):
                raise RecipeError(
                    f"{where}: {value!r} is no selector",
                    hint="@depends:TASK, @depends_native:TASK, @runtime:TASK, @runtime_native:TASK",
                )
            elif ":" in value:
                key = self.named(recipe, TaskKey(value), where)
                keys[key] = None
                if kind == "needs":  # a tool is of no use without what it needs to run
                    keys.update(dict.fromkeys(self.run_time(key)))
            else:
                keys[self.named(recipe, TaskKey.of(recipe.name, value), where)] = None
        return tuple(keys)

    def run_time(self, key: TaskKey) -> tuple[TaskKey, ...]:
        """Return the same task of all that a recipe needs at run time, transitively."""
        name, task = key.recipe, key.task
        recipe = self.project.recipe(name)
        others = [
            other
            for other in self.with_rdepends(recipe, recipe.rdepends)
            if not is_bootstrap(other)
        ]
        return tuple(
            TaskKey.of(other, task) for other in others if task in self.project.recipe(other).tasks
        )

    def named(self, asker: Recipe, key: TaskKey, where: str) -> TaskKey:
        name, task = key.recipe, key.task
        provider = self.provider(asker, name, where)
        if task not in provider.tasks:
            raise RecipeError(
                f"{where}: {provider.name} has no task {task}", hint=nearest(task, provider.tasks)
            )
        return TaskKey.of(provider.name, task)

    def provider(self, asker: Recipe, name: str, where: str = "") -> Recipe:
        try:
            return self.project.recipe(name)
        except NameUnknown as error:
            where = where or str(asker.path)
            raise RecipeError(
                f"{where}: {asker.name} needs {name}, which no recipe provides", hint=error.hint
            ) from error

    def select(self, recipe: Recipe, kind: str, task: str) -> tuple[TaskKey, ...]:
        """Return the tasks of that name among the recipes of a kind; recipes without such a task
        are passed over.
        """
        known = self.resolved.get((recipe.name, kind))
        if known is None:
            if kind == "runtime":
                known = self.runtime(recipe)
            elif kind == "runtime_native":
                known = self.with_rdepends(recipe, self.postinst_tools(recipe))
            else:
                known = self.with_rdepends(
                    recipe, recipe.depends if kind == "depends" else recipe.depends_native
                )
            self.resolved[recipe.name, kind] = known
        return tuple(
            TaskKey.of(name, task) for name in known if task in self.project.recipe(name).tasks
        )

    def with_rdepends(self, asker: Recipe, names: Sequence[str]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        pending = [(asker, name) for name in reversed(names)]
        while pending:
            asked_by, name = pending.pop()
            provider = self.provider(asked_by, name)
            if provider.name not in found:
                found[provider.name] = None
                # one for bootstrapping reaches only who names it
                pending += [
                    (provider, other) for other in provider.rdepends if not is_bootstrap(other)
                ]
        return tuple(found)

    def postinst_tools(self, recipe: Recipe) -> list[str]:
        """Return the native recipes that the packages of an image need for their postinst
        scripts.
        """
        tables = [
            table
            for name in self.runtime(recipe)
            for table in self.project.recipe(name).packages.values()
        ]
        return [
            native_name(tool)
            for table in tables
            for tool in table.get("postinst_depends_native", [])
        ]

    def runtime(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the recipes whose packages may be needed at run time.

        Those of the packages in IMAGE_INSTALL, and everything that those recipes link with or name,
        transitively: which of them are needed is known when they are packaged.
        """
        install = recipe.variables.get("IMAGE_INSTALL")
        names = (
            expand(install.value, recipe.variables, where=str(recipe.path)).split()
            if install
            else []
        )
        found: dict[str, None] = {}
        pending = [(recipe, name) for name in [*names, *recipe.rdepends]]
        while pending:
            asker, name = pending.pop()
            provider = self.provider(asker, self.package_recipe(name))
            if provider.name in found or provider.arch in ("native", "cross"):
                continue
            found[provider.name] = None
            own = [
                item
                for package in provider.packages.values()
                for item in package.get("rdepends", [])
            ]
            expanded = [expand(item, provider.variables, where=str(provider.path)) for item in own]
            pending += [
                (provider, item) for item in (*provider.depends, *provider.rdepends, *expanded)
            ]
        return tuple(sorted(found))

    def package_recipe(self, package: str) -> str:
        """Return the recipe that a package comes from: the longest one that the package's name
        begins with.
        """
        name = package
        while name and self.project.resolve(name) is None:
            name = name.rpartition("-")[0]
        return name or package


def resolve_targets(project: Project, targets: Sequence[str]) -> list[TaskKey]:
    """Return the keys of the tasks that targets (`recipe`, `recipe:task`, `world`) stand for.

    Raises NameUnknown.
    """
    keys: dict[TaskKey, None] = {}
    for target in targets:
        name, _, task = target.partition(":")
        for recipe_name in project.names() if name == WORLD else [name]:
            recipe = project.recipe(recipe_name)
            if task and task not in recipe.tasks and name != WORLD:
                hint = nearest(task, recipe.tasks) or f"it has {', '.join(sorted(recipe.tasks))}"
                raise NameUnknown(f"{recipe.name} has no task {task}", hint=hint)
            for wanted in [task] if task else recipe.build:
                if wanted in recipe.tasks:
                    keys[TaskKey.of(recipe.name, wanted)] = None
                elif not task:
                    raise RecipeError(f"{recipe.path}: build: {recipe.name} has no task {wanted}")
    return list(keys)


def make_graph(project: Project, targets: Sequence[str]) -> Graph:
    """Return the graph of everything that the targets depend on.

    Raises PlanError for a cycle, with its tasks.
    """
    resolver = _Resolver(project)
    keys = resolve_targets(project, targets)
    nodes: dict[TaskKey, Node] = {}
    open_: dict[TaskKey, None] = {}
    for start in keys:
        pending: list[tuple[TaskKey, bool]] = [(start, False)]
        while pending:
            key, finished = pending.pop()
            if finished:
                del open_[key]
                nodes[key] = resolver.nodes[key]
                continue
            if key in nodes:
                continue
            if key in open_:
                continue
            open_[key] = None
            node = resolver.nodes[key] = resolver.node(key)
            pending.append((key, True))
            for edge in reversed(node.edges):
                if edge in open_:
                    cycle = [*list(open_)[list(open_).index(edge) :], edge]
                    raise PlanError(
                        f"tasks depend on each other: {' -> '.join(cycle)}",
                        hint="remove one of these edges",
                    )
                if edge not in nodes:
                    pending.append((edge, False))
    return Graph(nodes, tuple(keys))
