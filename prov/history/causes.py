"""Find the root causes of changed inputs, across dependencies and between builds.

A task's hash changes because one of its own inputs changed, or because one of its dependencies did.
Following the changed edges down the graph, the tasks with changes of their own are the *root
causes*; all other changed tasks only follow from them. A task that produced a different output from
identical inputs is also a root cause.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from prov.errors import StoreError
from prov.history.inputs import Change, Compared, Edge, Inputs, compare, read_inputs
from prov.history.producers import Producers, failures
from prov.records.build_list import BuildList, Line
from prov.records.ids import EdgeId, OutputId, TaskHash, Unihash
from prov.records.keys import TaskKey
from prov.worktree.attributes import TreeReader

SAME_INPUTS = "same inputs"


class Side(Protocol):
    """One of two states of the task graph: as recorded, or as the recipes define it now."""

    def behind(self, edge: Edge, oid: EdgeId | None) -> Inputs | None:
        """Return the inputs of the task at the end of an edge, None if unknown."""


@dataclass(slots=True)
class RecordedSide:
    """A recorded state."""

    reader: TreeReader
    producers: Producers

    def behind(self, edge: Edge, oid: EdgeId | None) -> Inputs | None:
        task_hash = self._task_hash(edge, oid) if oid is not None else None
        if task_hash is None:
            return None
        try:
            return read_inputs(self.reader, edge.key, task_hash)
        except StoreError:
            return None

    def _task_hash(self, edge: Edge, oid: EdgeId) -> TaskHash | None:
        """Return the task hash at the end of an edge. An `after` edge holds it as its id.

        BitBake tasks also name predecessors by unihash.
        """
        if edge.kind == "after" and not isinstance(oid, Unihash):
            return TaskHash(oid)
        output = oid if isinstance(oid, Unihash) else OutputId(oid)
        return self.producers.hash_of(edge.key, output)


@dataclass(frozen=True, slots=True)
class Cause:
    """A task with changes of its own, and the path from it to the task in question."""

    key: TaskKey
    changes: tuple[Change, ...]
    """Empty if the inputs of the task at the end of an edge are not recorded."""
    chain: tuple[TaskKey, ...]


def first_causes(
    reader: TreeReader, old: Inputs, new: Inputs, sides: tuple[Side, Side]
) -> list[Cause]:
    """Return the root causes of the difference between two states of a task, the nearest first."""
    causes: list[Cause] = []
    visited = {new.key}
    queue: deque[tuple[Inputs, Inputs, tuple[TaskKey, ...]]] = deque([(old, new, (new.key,))])
    while queue:
        before, after, chain = queue.popleft()
        compared = compare(reader, before, after)
        changes = compared.own or _same_inputs(before, after, compared)
        if changes:
            causes.append(Cause(after.key, changes, chain))
        for edge in compared.edges:
            if edge.key in visited:
                continue
            visited.add(edge.key)
            longer = (edge.key, *chain)
            one = sides[0].behind(edge, before.edges[edge])
            other = sides[1].behind(edge, after.edges[edge])
            if one is None or other is None:
                causes.append(Cause(edge.key, (), longer))
            else:
                queue.append((one, other, longer))
    return causes


def _same_inputs(before: Inputs, after: Inputs, compared: Compared) -> tuple[Change, ...]:
    """Return the change of a task with a different output from the same inputs, or nothing."""
    is_same_hash = before.task_hash is not None and before.task_hash == after.task_hash
    if compared.edges or not is_same_hash:
        return ()
    return (Change(SAME_INPUTS, "", None, None),)


# between builds


@dataclass(frozen=True, slots=True)
class TaskDifference:
    """A task that differs between two builds."""

    key: TaskKey
    old: Line | None
    new: Line | None
    """None if the build does not have the task."""
    own: tuple[Change, ...]
    """Changes of the task's own inputs. The task is a root cause if there are any."""


@dataclass(frozen=True, slots=True)
class CauseGroup:
    """A changed input, and all tasks that have it as an input."""

    change: Change
    tasks: tuple[TaskKey, ...]

    @property
    def title(self) -> str:
        """The change as text."""
        if self.change.kind == SAME_INPUTS:
            return f"{self.tasks[0]} produced a different output from identical inputs"
        return self.change.title


@dataclass(frozen=True, slots=True)
class BuildDifference:
    """The differences between two builds."""

    versions: Mapping[str, tuple[str, str]]
    """Recipe -> old and new version, for recipes with a version change."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    """Recipes in only one of the builds. Empty if the build without them is incomplete."""
    tasks: tuple[TaskDifference, ...]
    causes: tuple[CauseGroup, ...]

    @property
    def followed(self) -> list[TaskKey]:
        """Tasks that changed only because a dependency changed."""
        return [task.key for task in self.tasks if task.old and task.new and not task.own]


def build_difference(reader: TreeReader, old: BuildList, new: BuildList) -> BuildDifference:
    """Return the differences between two builds. Recipes with identical lists are not read."""
    tasks = changed_tasks(reader, old, new)
    old_recipes = set(old.recipes())
    new_recipes = set(new.recipes()) | {task.key.recipe for task in tasks if task.new}
    return BuildDifference(
        versions=changed_versions(old.versions(), new.versions()),
        added=tuple(sorted(new_recipes - old_recipes)) if _is_whole(old) else (),
        removed=tuple(sorted(old_recipes - new_recipes)) if _is_whole(new) else (),
        tasks=tuple(tasks),
        causes=group_causes(tasks),
    )


def changed_versions(
    before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Return recipe -> old and new version, for recipes in both builds with a version change."""
    common = sorted(before.keys() & after.keys())
    return {name: (before[name], after[name]) for name in common if before[name] != after[name]}


def group_causes(tasks: Iterable[TaskDifference]) -> tuple[CauseGroup, ...]:
    """Return each change with all tasks that have it, in the order of the tasks.

    A task that produced a different output from the same inputs has a group of its own.
    """
    groups: dict[tuple[object, ...], tuple[Change, list[TaskKey]]] = {}
    for task in tasks:
        for change in task.own:
            alone = task.key if change.kind == SAME_INPUTS else ""
            oids = (change.old and change.old.oid, change.new and change.new.oid)
            name = (change.kind, change.name, alone, *oids)
            _, keys = groups.setdefault(name, (change, []))
            keys.append(task.key)
    return tuple(CauseGroup(change, tuple(keys)) for change, keys in groups.values())


def _is_whole(build: BuildList) -> bool:
    """Return whether a build reached all of its recipes.

    A failed or interrupted build may not have reached all of them.
    """
    return build.facts().get("result", "ok") == "ok"


def changed_tasks(reader: TreeReader, old: BuildList, new: BuildList) -> list[TaskDifference]:
    """Return the tasks that differ between two builds, including failed ones, sorted by key."""
    failed = failures(new)
    differences = []
    for recipe in sorted(old.differing(new)):
        failed_here = {key: line for key, line in failed.items() if key.recipe == recipe}
        before, after = old.lines(recipe), new.lines(recipe) | failed_here
        for key in sorted(before.keys() | after.keys()):
            one, other = before.get(key), after.get(key)
            if not _is_same_result(one, other):
                own = _own_changes(reader, key, one, other)
                differences.append(TaskDifference(key, one, other, own))
    return differences


def _is_same_result(one: Line | None, other: Line | None) -> bool:
    if one is None or other is None:
        return False
    return (one.task_hash, one.output) == (other.task_hash, other.output)


def _own_changes(
    reader: TreeReader, key: TaskKey, old: Line | None, new: Line | None
) -> tuple[Change, ...]:
    if old is None or new is None:
        return ()
    if old.task_hash == new.task_hash:
        # a failure in one build only is a root cause, like a different output
        return (Change(SAME_INPUTS, "", None, None),)
    try:
        before = read_inputs(reader, key, old.task_hash)
        after = read_inputs(reader, key, new.task_hash)
        return compare(reader, before, after).own
    except StoreError:
        return ()
