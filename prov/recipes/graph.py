"""The task graph: the recipes' tasks and the edges between them.

There are two kinds of edges. An `after` edge leads to a task of the same recipe; the task continues
in that task's WORKDIR. Output edges are `from` (the output is copied into the WORKDIR at the start)
and `needs` (the output goes into the sysroots). No task or recipe is special, except for the names
of bootstrap variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prov.errors import NameUnknown, PlanError, RecipeError
from prov.recipes.project import Project
from prov.recipes.recipe import Recipe, Task
from prov.recipes.selectors import SELECTOR, Selectors
from prov.recipes.variables import expand
from prov.records.keys import TaskKey
from prov.text import nearest

WORLD = "world"


@dataclass(frozen=True, slots=True)
class Node:
    """A task in the graph.

    Edges are the keys of other nodes, in the order of the recipe.
    """

    key: TaskKey
    recipe: Recipe
    task: Task
    arch: str
    after: tuple[TaskKey, ...]
    from_: tuple[TaskKey, ...]
    needs: tuple[TaskKey, ...]
    direct: frozenset[TaskKey] = frozenset()
    """The members of `needs` used from folders of their own."""
    staging: tuple[str, ...] = ()
    """For each of `needs`, a text: the sysroot that its output folders go into."""

    @property
    def edges(self) -> tuple[TaskKey, ...]:
        return (*self.after, *self.from_, *self.needs)


@dataclass(frozen=True, slots=True)
class Graph:
    """All tasks that the targets depend on, in dependency order."""

    nodes: dict[TaskKey, Node]
    targets: tuple[TaskKey, ...]

    def chain(self, key: TaskKey) -> str:
        """Return the name of a task's WORKDIR chain: the first task that uses the WORKDIR."""
        node = self.nodes[key]
        while node.after:
            node = self.nodes[node.after[0]]
        return node.task.name


def tasks_before(recipe: Recipe, task: Task) -> list[Task]:
    """Return the tasks that a task comes `after`, transitively."""
    names: dict[str, None] = {}
    pending = list(task.after)
    while pending:
        name = pending.pop()
        if name not in names and name in recipe.tasks:
            names[name] = None
            pending += recipe.tasks[name].after
    return [recipe.tasks[name] for name in names]


def resolve_targets(project: Project, targets: Sequence[str]) -> list[TaskKey]:
    """Return the keys of the tasks named by targets (`recipe`, `recipe:task`, `world`).

    Raises NameUnknown.
    """
    keys: dict[TaskKey, None] = {}
    for target in map(TaskKey, targets):
        recipes = [target.recipe]
        if target.recipe == WORLD:
            recipes = _recipes_with(project, target.task)
        for name in recipes:
            keys |= dict.fromkeys(_targets_in(project.recipe(name), target.task))
    return list(keys)


def _recipes_with(project: Project, task: str) -> list[str]:
    """Return the names of the recipes that have a task, or of all recipes if it is empty."""
    return [name for name in project.names() if not task or task in project.recipe(name).tasks]


def _targets_in(recipe: Recipe, task: str) -> list[TaskKey]:
    """Return the key of a recipe's task, or of its `build` tasks if `task` is empty."""
    if task and task not in recipe.tasks:
        hint = nearest(task, recipe.tasks) or f"use one of {', '.join(sorted(recipe.tasks))}"
        raise NameUnknown(f"{recipe.name} has no task {task}", hint=hint)
    names = [task] if task else recipe.build
    for name in names:
        if name not in recipe.tasks:
            raise RecipeError(
                f"{recipe.path}: build: {recipe.name} has no task {name}",
                hint=nearest(name, recipe.tasks),
            )
    return [TaskKey.of(recipe.name, name) for name in names]


def make_graph(project: Project, targets: Sequence[str]) -> Graph:
    """Return the graph of everything that the targets depend on.

    Raises PlanError for a cycle, with its tasks.
    """
    edges = _Edges(project)
    nodes: dict[TaskKey, Node] = {}
    keys = resolve_targets(project, targets)
    for key in keys:
        _add_nodes(key, edges, nodes)
    return Graph(nodes, tuple(keys))


def _add_nodes(start: TaskKey, edges: _Edges, nodes: dict[TaskKey, Node]) -> None:
    """Add a task and all its dependencies to `nodes`, dependencies first."""
    path: dict[TaskKey, Node] = {}  # the nodes from the start whose edges are being followed
    pending: list[tuple[TaskKey, bool]] = [(start, False)]
    while pending:
        key, is_finished = pending.pop()
        if is_finished:
            nodes[key] = path.pop(key)
        elif key not in nodes:
            node = path[key] = edges.node(key)
            pending.append((key, True))
            for edge in reversed(node.edges):
                if edge in path:
                    raise _cycle(list(path), edge)
                if edge not in nodes:
                    pending.append((edge, False))


def _cycle(path: list[TaskKey], edge: TaskKey) -> PlanError:
    tasks = [*path[path.index(edge) :], edge]
    return PlanError(
        f"dependency cycle: {' -> '.join(tasks)}", hint="remove one of these dependencies"
    )


@dataclass(slots=True)
class _Edges:
    """Resolves a task's `after`, `from` and `needs` to task keys."""

    project: Project
    selectors: Selectors = field(init=False)
    _staging: dict[TaskKey, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.selectors = Selectors(self.project)

    def node(self, key: TaskKey) -> Node:
        """Return a task with its edges. Raises RecipeError if an edge's task does not exist."""
        recipe = self.project.recipe(key.recipe)
        task = recipe.tasks[key.task]
        needs = dict.fromkeys(self._keys(recipe, task, task.needs, "needs"))
        if recipe.sysroot == "recipe":
            for before in tasks_before(recipe, task):
                needs |= dict.fromkeys(self._keys(recipe, before, before.needs, "needs"))
        return Node(
            key=key,
            recipe=recipe,
            task=task,
            arch=self.project.arch_name(recipe),
            after=tuple(self._after(recipe, task, name) for name in task.after),
            from_=self._keys(recipe, task, task.from_, "from"),
            needs=tuple(needs),
            direct=frozenset(key for key in needs if self.project.recipe(key.recipe).direct),
            staging=tuple(map(self._staging_of, needs)),
        )

    def _after(self, recipe: Recipe, task: Task, name: str) -> TaskKey:
        if name not in recipe.tasks:
            raise RecipeError(
                f"{recipe.path}: tasks.{task.name}.after: {recipe.name} has no task {name}",
                hint=nearest(name, recipe.tasks),
            )
        return TaskKey.of(recipe.name, name)

    def _keys(
        self, recipe: Recipe, task: Task, texts: Iterable[str], edge: str
    ) -> tuple[TaskKey, ...]:
        """Return the tasks named by the texts of one kind of edge, without duplicates."""
        where = f"{recipe.path}: tasks.{task.name}.{edge}"
        keys: dict[TaskKey, None] = {}
        for text in texts:
            value = expand(text, recipe.variables, where=where)
            keys |= dict.fromkeys(self._tasks(recipe, value, edge, where))
        return tuple(keys)

    def _tasks(self, recipe: Recipe, text: str, edge: str, where: str) -> list[TaskKey]:
        """Return the tasks named by a selector, `RECIPE:TASK` or `TASK`."""
        selector = SELECTOR.fullmatch(text)
        if selector:
            return self._tasks_of(self.selectors.select(recipe, selector[1]), selector[2])
        if text.startswith("@"):
            raise RecipeError(
                f"{where}: invalid selector {text!r}",
                hint=(
                    "use @depends:TASK, @depends_native:TASK, @runtime:TASK or @runtime_native:TASK"
                ),
            )
        if ":" not in text:
            return [self._task(recipe, text, where)]
        name = TaskKey(text)
        key = self._task(self.selectors.provider(recipe, name.recipe, where), name.task, where)
        if edge != "needs":
            return [key]
        # a tool does not run without its run-time dependencies
        others = self.selectors.run_time(self.project.recipe(key.recipe))
        return [key, *self._tasks_of(others, key.task)]

    def _task(self, recipe: Recipe, task: str, where: str) -> TaskKey:
        if task not in recipe.tasks:
            raise RecipeError(
                f"{where}: {recipe.name} has no task {task}", hint=nearest(task, recipe.tasks)
            )
        return TaskKey.of(recipe.name, task)

    def _tasks_of(self, recipes: Iterable[str], task: str) -> list[TaskKey]:
        """Return the recipes' tasks named `task`; skip recipes without one."""
        return [
            TaskKey.of(name, task) for name in recipes if task in self.project.recipe(name).tasks
        ]

    def _staging_of(self, key: TaskKey) -> str:
        """Return a text that names the sysroot and the output folders that go into it.

        The text is part of the hash of every task that uses this output.
        """
        staging = self._staging.get(key)
        if staging is None:
            recipe = self.project.recipe(key.recipe)
            where = f"{recipe.path}: tasks.{key.task}.outputdir"
            folders = [
                expand(text, recipe.variables, where=where, keep=("WORKDIR",))
                for text in recipe.tasks[key.task].outputdir
            ]
            staging = self._staging[key] = " ".join([key, _sysroot_kind(recipe), *folders])
        return staging


def _sysroot_kind(recipe: Recipe) -> str:
    """Return the sysroot for a recipe's outputs (`native`, `target`), or `direct`."""
    if recipe.direct:
        return "direct"
    return "native" if recipe.arch in ("native", "cross") else "target"
