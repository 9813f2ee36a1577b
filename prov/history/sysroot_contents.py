"""List the packages in a task's sysroots, each with its chain of dependencies."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from prov.errors import NameUnknown
from prov.recipes.graph import Node, tasks_before
from prov.recipes.project import Project
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE, Recipe, Task
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
class SysrootPackage:
    """A staging package in a task's sysroots."""

    key: TaskKey
    sysroot: str
    """`recipe-sysroot`, `recipe-sysroot-native`, or `direct`."""
    chain: tuple[str, ...]
    """Why it is included: `depends on greet`, `which needs words at run time`."""
    output: OutputId | None
    """None if it is not built."""
    paths: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class SysrootContents:
    """Tasks of a recipe with the same packages in their sysroots."""

    recipe: str
    tasks: tuple[str, ...]
    packages: tuple[SysrootPackage, ...]


def sysroot_contents(session: Session, name: str) -> list[SysrootContents]:
    """Return the sysroot packages of a task (`recipe:task`), or of each task of a recipe.

    Tasks without packages are omitted if `name` is a recipe. Raises ProvError for an unknown name
    or a faulty recipe.
    """
    key = TaskKey(name)
    recipe = session.project.recipe(key.recipe)
    is_task = ":" in name
    tasks = [key.task] if is_task else list(recipe.tasks)
    if is_task and key.task not in recipe.tasks:
        raise NameUnknown(
            f"{recipe.name} has no task {key.task}", hint=nearest(key.task, recipe.tasks)
        )
    keys = {task: TaskKey.of(recipe.name, task) for task in tasks}
    plan, _ = session.plan(Request(tuple(keys.values())))
    groups: dict[tuple[SysrootPackage, ...], list[str]] = {}
    for task in tasks:
        packages = _packages(session.project, plan, plan.graph.nodes[keys[task]])
        if packages or is_task:
            groups.setdefault(tuple(packages), []).append(task)
    return [
        SysrootContents(recipe.name, tuple(alike), packages) for packages, alike in groups.items()
    ]


def _packages(project: Project, plan: Plan, node: Node) -> list[SysrootPackage]:
    """Return the packages in a task's sysroots, in the order in which the task declares them."""
    chains = dependency_chains(project, node.recipe, node.task)
    packages = []
    for key in node.needs:
        provider = plan.graph.nodes[key]
        packages.append(
            SysrootPackage(
                key,
                _sysroot_of(provider, direct=key in node.direct),
                chains.get(provider.recipe.name, ()),
                plan.steps[key].output,
                tuple(output_paths(provider.recipe, provider)),
            )
        )
    return packages


def _sysroot_of(provider: Node, *, direct: bool) -> str:
    if direct:
        return "direct"
    is_native = provider.recipe.arch in ("native", "cross")
    return SYSROOT_NATIVE if is_native else SYSROOT


def dependency_chains(project: Project, recipe: Recipe, task: Task) -> dict[str, tuple[str, ...]]:
    """Return recipe -> the shortest chain of dependencies from a task to it.

    A chain with one link is a dependency that the recipe itself declares.
    """
    chains: dict[str, tuple[str, ...]] = {}
    pending: deque[tuple[str, tuple[str, ...]]] = deque(_first_links(project, recipe, task))
    while pending:
        name, chain = pending.popleft()
        resolved = project.resolve(name)
        if resolved is None or resolved in chains:
            continue
        chains[resolved] = chain
        for other in project.recipe(resolved).rdepends:
            if not is_bootstrap(other):
                pending.append((other, (*chain, f"which needs {other} at run time")))
    return chains


def _first_links(
    project: Project, recipe: Recipe, task: Task
) -> Iterator[tuple[str, tuple[str, ...]]]:
    earlier = tasks_before(recipe, task) if recipe.sysroot == "recipe" else []
    for owner in [task, *earlier]:
        for text in owner.needs:
            value = expand(text, recipe.variables, where=str(recipe.path))
            yield from _links(project, recipe, owner, value)


def _links(
    project: Project, recipe: Recipe, task: Task, value: str
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the recipes that one entry of a task's `needs` selects, each with the reason."""
    selector = SELECTOR.fullmatch(value)
    if selector is None:
        yield TaskKey(value).recipe, (f"{recipe.name}:{task.name} needs {value}",)
    elif selector[1] == "depends":
        for name in recipe.depends:
            yield name, (f"{recipe.name} depends on {name}",)
    elif selector[1] == "depends_native":
        for name in recipe.depends_native:
            yield name, (f"{recipe.name} depends on the tool {name}",)
    else:
        yield from _image_tools(project, recipe)


def _image_tools(project: Project, recipe: Recipe) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in project.names():
        for package, table in project.recipe(name).packages.items():
            for tool in table.get("postinst_depends_native", []):
                native = tool if tool.endswith("-native") else f"{tool}-native"
                reason = f"{recipe.name} may hold {package}, whose postinst script needs {native}"
                yield native, (reason,)


def size_of(store: Store, package: SysrootPackage) -> tuple[int, int]:
    """Return a package's number of files and their total size in bytes."""
    files = [
        node
        for top in _tops(store, package)
        for _, node in walk(store.objects, top.pair)
        if stat.S_ISREG(node.mode)
    ]
    return len(files), sum(store.objects.blob_size(node.oid) for node in files)


def file_in(store: Store, package: SysrootPackage, path: bytes) -> FileNode | None:
    """Return a package's node at a path of the sysroot, or None."""
    nodes = (at_path(store.objects, top.pair, path) for top in _tops(store, package))
    return next((node for node in nodes if node is not None), None)


def _tops(store: Store, package: SysrootPackage) -> list[FileNode]:
    """Return the folders of a package that enter a sysroot; none if it is not built."""
    if package.output is None:
        return []
    whole = read_pair(store.objects, package.output)
    nodes = (at_path(store.objects, whole, path) for path in package.paths)
    return [node for node in nodes if node is not None]
