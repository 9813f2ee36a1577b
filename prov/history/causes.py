"""What made a task's inputs other than they were: first causes, found down the graph, and between
builds.

A change goes up the graph: a task has another hash since a text of its own changed, or since
something that it takes did. Going down along the edges that are not the same, the tasks with
changes of their own are the *root causes*; all others merely followed. A task that gave another
output for the same inputs is one as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prov.errors import StoreError
from prov.history.inputs import Change, Edge, Inputs, compare, read_inputs
from prov.history.producers import Producers, failures
from prov.records.build_list import BuildList, Line
from prov.records.ids import OutputId, TaskHash, Unihash
from prov.records.keys import TaskKey
from prov.records.record import parse_edge_id
from prov.worktree.attributes import TreeReader

SAME_INPUTS = "same inputs"


class Side(Protocol):
    """One of two states of a graph of tasks: recorded, or as the recipes say now."""

    def behind(self, edge: Edge, at: str | None) -> Inputs | None:
        """Return the inputs of the task behind an edge that stands at a hash or an output id; None
        if unknown.
        """


@dataclass(slots=True)
class Recorded:
    """A recorded state."""

    reader: TreeReader
    producers: Producers

    def behind(self, edge: Edge, at: str | None) -> Inputs | None:
        kind, key = edge
        oid = parse_edge_id(at.encode()) if at else None
        if oid is not None and (kind != "after" or isinstance(oid, Unihash)):
            oid = self.producers.hash_of(TaskKey(key), OutputId(oid))
        if oid is None:
            return None
        try:
            return read_inputs(self.reader, TaskKey(key), TaskHash(oid))
        except StoreError:
            return None


@dataclass(frozen=True, slots=True)
class Cause:
    """A task with changes of its own, and the way from it up to the task that was asked about."""

    key: TaskKey
    changes: tuple[Change, ...]
    """Empty where what is behind an edge is not recorded here."""
    chain: tuple[str, ...]


def first_causes(
    reader: TreeReader, old: Inputs, new: Inputs, sides: tuple[Side, Side]
) -> list[Cause]:
    """Return the root causes of the difference between two states of a task, the nearest first."""
    causes: list[Cause] = []
    seen = {new.key}
    queue: deque[tuple[Inputs, Inputs, tuple[str, ...]]] = deque([(old, new, (new.key,))])
    while queue:
        before, now, chain = queue.popleft()
        compared = compare(reader, before, now)
        if compared.own:
            causes.append(Cause(now.key, compared.own, chain))
        elif (
            not compared.edges
            and before.task_hash is not None
            and before.task_hash == now.task_hash
        ):
            causes.append(Cause(now.key, (Change(SAME_INPUTS, "", None, None),), chain))
        for edge in compared.edges:
            key = edge[1]
            if key in seen:
                continue
            seen.add(TaskKey(key))
            one, other = (
                sides[0].behind(edge, before.edges[edge]),
                sides[1].behind(edge, now.edges[edge]),
            )
            if one is None or other is None:
                causes.append(Cause(TaskKey(key), (), (key, *chain)))
            else:
                queue.append((one, other, (key, *chain)))
    return causes


# between builds


@dataclass(frozen=True, slots=True)
class TaskDifference:
    """A task that is not the same in two builds; a line is None where the build has no such
    task.
    """

    key: TaskKey
    old: Line | None
    new: Line | None
    own: tuple[Change, ...]
    """Its own changes: it is a root cause if there are any."""


@dataclass(frozen=True, slots=True)
class CauseGroup:
    """One change of an input, and all tasks that it is an input of."""

    change: Change
    tasks: tuple[TaskKey, ...]

    @property
    def title(self) -> str:
        if self.change.kind == SAME_INPUTS:
            return f"{self.tasks[0]} gave another output for the same inputs"
        return self.change.title


@dataclass(frozen=True, slots=True)
class BuildDifference:
    """What is different between two builds."""

    versions: Mapping[str, tuple[str, str]]
    """Recipe -> version before and after, of those whose version changed."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    """Recipes that only one of them has, where the other one is whole."""
    tasks: tuple[TaskDifference, ...]
    causes: tuple[CauseGroup, ...]

    @property
    def followed(self) -> list[str]:
        """Tasks that changed only since something that they take did."""
        return [each.key for each in self.tasks if each.old and each.new and not each.own]


def build_difference(reader: TreeReader, old: BuildList, new: BuildList) -> BuildDifference:
    """Return what is different; recipes whose lists are the same are not read."""
    tasks = changed_tasks(reader, old, new)
    groups: dict[tuple[object, ...], list[TaskDifference]] = {}
    changes: dict[tuple[object, ...], Change] = {}
    for each in tasks:
        for change in each.own:
            alone = each.key if change.kind == SAME_INPUTS else ""
            name = (
                change.kind,
                change.name,
                alone,
                change.old and change.old.oid,
                change.new and change.new.oid,
            )
            groups.setdefault(name, []).append(each)
            changes[name] = change
    before, after = old.versions(), new.versions()
    recipes = (
        set(old.recipes()),
        set(new.recipes()) | {each.key.recipe for each in tasks if each.new},
    )
    return BuildDifference(
        versions={
            name: (before[name], after[name])
            for name in sorted(before.keys() & after.keys())
            if before[name] != after[name]
        },
        added=tuple(sorted(recipes[1] - recipes[0])) if _is_whole(old) else (),
        removed=tuple(sorted(recipes[0] - recipes[1])) if _is_whole(new) else (),
        tasks=tuple(tasks),
        causes=tuple(
            CauseGroup(changes[name], tuple(each.key for each in tasks))
            for name, tasks in groups.items()
        ),
    )


def _is_whole(build: BuildList) -> bool:
    """Tell whether a build came to all of its recipes: one that failed or was interrupted may not
    have.
    """
    return build.facts().get("result", "ok") == "ok"


def changed_tasks(reader: TreeReader, old: BuildList, new: BuildList) -> list[TaskDifference]:
    """Return the tasks of two builds that are not the same, failed ones among them, sorted by
    key.
    """
    found = []
    for recipe in sorted(old.differing(new)):
        before, after = old.lines(recipe), new.lines(recipe) | _of(recipe, failures(new))
        for key in sorted(before.keys() | after.keys()):
            one, other = before.get(key), after.get(key)
            if (
                one is None
                or other is None
                or one.task_hash != other.task_hash
                or one.output != other.output
            ):
                found.append(TaskDifference(key, one, other, _own_changes(reader, key, one, other)))
    return found


def _of(recipe: str, lines: Mapping[TaskKey, Line]) -> dict[TaskKey, Line]:
    return {key: line for key, line in lines.items() if key.recipe == recipe}


def _own_changes(
    reader: TreeReader, key: TaskKey, old: Line | None, new: Line | None
) -> tuple[Change, ...]:
    if old is None or new is None:
        return ()
    if old.task_hash == new.task_hash:
        # that it failed this time is as good a cause as another output
        return (Change(SAME_INPUTS, "", None, None),)
    try:
        return compare(
            reader, read_inputs(reader, key, old.task_hash), read_inputs(reader, key, new.task_hash)
        ).own
    except StoreError:
        return ()
