"""What reaches a task's sysroots, and by which chain of dependencies."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from prov.errors import NameUnknown
from prov.recipes.graph import Node, tasks_before
from prov.recipes.project import Project
from prov.recipes.recipe import Recipe, Task
from prov.recipes.selectors import SELECTOR, is_bootstrap
from prov.recipes.variables import expand
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.scheduler.plan import Plan
from prov.scheduler.session import Request, Session
from prov.store.repository import Store
from prov.tasks.taskhash import output_paths
from prov.text import nearest
from prov.worktree.attributes import FileNode, at_path, walk


@dataclass(frozen=True, slots=True)
class Staged:
    """A staging package that reaches a task's sysroots."""

    key: TaskKey
    sysroot: str
    """`recipe-sysroot`, `recipe-sysroot-native`, or `direct`."""
    chain: tuple[str, ...]
    """How it is reached: `depends on greet`, `which needs words at run time`."""
    output: OutputId | None
    """None when it is not built."""
    paths: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """Tasks of a recipe that have the same in their sysroots."""

    recipe: str
    tasks: tuple[str, ...]
    packages: tuple[Staged, ...]


def seen_by(session: Session, name: str) -> list[Seen]:
    """Return what a task (`recipe:task`), or each task of a recipe that has any, sees of others.

    Raises ProvError for names that are unknown and for what is wrong with recipes.
    """
    recipe = session.project.recipe(name.partition(":")[0])
    tasks = [name.partition(":")[2]] if ":" in name else list(recipe.tasks)
    if ":" in name and tasks[0] not in recipe.tasks:
        raise NameUnknown(
            f"{recipe.name} has no task {tasks[0]}", hint=nearest(tasks[0], recipe.tasks)
        )
    plan, _ = session.plan(Request(tuple(f"{recipe.name}:{task}" for task in tasks)))
    groups: dict[tuple[Staged, ...], list[str]] = {}
    for task in tasks:
        packages = _staged(
            session.project, plan, plan.graph.nodes[TaskKey(f"{recipe.name}:{task}")]
        )
        if packages or ":" in name:
            groups.setdefault(tuple(packages), []).append(task)
    return [Seen(recipe.name, tuple(each), packages) for packages, each in groups.items()]


def _staged(project: Project, plan: Plan, node: Node) -> list[Staged]:
    """Return what a task has in its sysroots, in the order in which it is asked for."""
    ways = _ways(project, node.recipe, node.task)
    found = []
    for key in node.needs:
        provider = plan.graph.nodes[key]
        native = provider.recipe.arch in ("native", "cross")
        place = (
            "direct"
            if key in node.direct
            else "recipe-sysroot-native"
            if native
            else "recipe-sysroot"
        )
        paths = tuple(output_paths(provider.recipe, provider))
        found.append(
            Staged(key, place, ways.get(provider.recipe.name, ()), plan.steps[key].output, paths)
        )
    return found


def _ways(project: Project, recipe: Recipe, task: Task) -> dict[str, tuple[str, ...]]:
    """Return recipe -> the shortest chain by which a task comes to need it."""
    ways: dict[str, tuple[str, ...]] = {}
    pending: deque[tuple[str, tuple[str, ...]]] = deque(_first(project, recipe, task))
    while pending:
        name, way = pending.popleft()
        resolved = project.resolve(name)
        if resolved is None or resolved in ways:
            continue
        ways[resolved] = way
        pending += [
            (other, (*way, f"which needs {other} at run time"))
            for other in project.recipe(resolved).rdepends
            if not is_bootstrap(other)
        ]
    return ways


def _first(project: Project, recipe: Recipe, task: Task) -> Iterator[tuple[str, tuple[str, ...]]]:
    earlier = tasks_before(recipe, task) if recipe.sysroot == "recipe" else []
    for each in [task, *earlier]:
        for text in each.needs:
            value = expand(text, recipe.variables, where=str(recipe.path))
            selector = SELECTOR.fullmatch(value)
            if selector is None:
                yield value.partition(":")[0], (f"{recipe.name}:{each.name} needs {value}",)
            elif selector[1] == "depends":
                yield from (
                    (name, (f"{recipe.name} depends on {name}",)) for name in recipe.depends
                )
            elif selector[1] == "depends_native":
                yield from (
                    (name, (f"{recipe.name} depends on the tool {name}",))
                    for name in recipe.depends_native
                )
            else:
                yield from _image_tools(project, recipe)


def _image_tools(project: Project, recipe: Recipe) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in project.names():
        for package, table in project.recipe(name).packages.items():
            for tool in table.get("postinst_depends_native", []):
                native = tool if tool.endswith("-native") else f"{tool}-native"
                yield (
                    native,
                    (f"{recipe.name} may hold {package}, whose postinst script needs {native}",),
                )


def size_of(store: Store, package: Staged) -> tuple[int, int]:
    """Return how many files a package brings, and how many bytes are in them."""
    if package.output is None:
        return 0, 0
    whole = read_pair(store.objects, package.output)
    tops = [node for path in package.paths if (node := at_path(store.objects, whole, path))]
    held = [
        node for top in tops for _, node in walk(store.objects, top.pair) if stat.S_ISREG(node.mode)
    ]
    return len(held), sum(store.objects.blob_size(node.oid) for node in held)


def brings(store: Store, package: Staged, path: bytes) -> FileNode | None:
    """Return what a package has at a path of the sysroot, or None."""
    if package.output is None:
        return None
    whole = read_pair(store.objects, package.output)
    found = (at_path(store.objects, whole, top + b"/" + path) for top in package.paths)
    return next((node for node in found if node is not None), None)
