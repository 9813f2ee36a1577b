"""Changes of inputs between two builds, as combined by a bisection.

A change that several recipes share is tried in each recipe separately. An answer reports it as one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from prov.history.causes import SAME_INPUTS, CauseGroup
from prov.records.build_list import BuildList
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.replay.combination import InputStep


def identity_of(group: CauseGroup) -> Hashable:
    """Return a key that matches the same change in two differences with the same new build."""
    change, first = group.change, group.tasks[0]
    new = change.new and change.new.oid
    return change.kind, change.name, new, first if is_unexplained(group) else first.recipe


def is_unexplained(group: CauseGroup) -> bool:
    """Return whether a task's output changed although no input did."""
    return group.change.kind == SAME_INPUTS


def title_of(group: CauseGroup) -> str:
    """Return a change and its recipes as text."""
    if is_unexplained(group):
        return group.title
    recipes = dict.fromkeys(key.recipe for key in group.tasks)
    return f"{group.title} in {' and '.join(recipes)}"


def split_by_recipe(groups: Iterable[CauseGroup]) -> list[CauseGroup]:
    """Return the changes, split by recipe."""
    return [
        replace(group, tasks=tuple(tasks))
        for group in groups
        for _, tasks in groupby(sorted(group.tasks), lambda key: key.recipe)
    ]


def join_recipes(groups: Iterable[CauseGroup]) -> tuple[CauseGroup, ...]:
    """Return the changes, with equal changes of several recipes joined."""
    joined: dict[Hashable, CauseGroup] = {}
    for group in groups:
        name = group.tasks if is_unexplained(group) else group.change
        tasks = joined[name].tasks if name in joined else ()
        joined[name] = replace(group, tasks=(*tasks, *group.tasks))
    return tuple(joined.values())


def input_steps(groups: Iterable[CauseGroup]) -> list[InputStep]:
    """Return the changes of inputs as steps for a combination of two builds."""
    return [
        InputStep(group.change.kind, group.change.name, group.change.new, group.tasks)
        for group in groups
        if not is_unexplained(group)
    ]


def chosen_outputs(
    good: BuildList, bad: BuildList, groups: Iterable[CauseGroup]
) -> Mapping[tuple[TaskKey, TaskHash], OutputId]:
    """Return the output to use for each task hash: the good build's, or else the bad build's.

    A task with one of these changes that produced a different output from the same inputs uses the
    bad build's output.
    """
    outputs: dict[tuple[TaskKey, TaskHash], OutputId] = {}
    for build in (bad, good):  # the good build's last
        for recipe in build.recipes():
            for key, line in build.lines(recipe).items():
                if line.output is not None:
                    outputs[key, line.task_hash] = line.output
    for group in groups:
        for key in group.tasks if is_unexplained(group) else ():
            line = bad.lines(key.recipe)[key]
            if line.output is not None:
                outputs[key, line.task_hash] = line.output
    return outputs
