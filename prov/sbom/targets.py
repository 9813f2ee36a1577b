"""Find the build and the tasks that a bill of materials is about."""

from __future__ import annotations

from collections.abc import Mapping

from prov.errors import NameUnknown
from prov.history.builds import find_build, short_id
from prov.records.build_list import BuildList, Line
from prov.records.keys import TaskKey
from prov.store.objects import EMPTY_TREE
from prov.store.repository import Store
from prov.text import nearest


def find_targets(store: Store, name: str) -> tuple[BuildList, tuple[TaskKey, ...]]:
    """Return the build and the targets that `[BUILD/]RECIPE[:TASK]` or a build's name stands for.

    A recipe stands for its targets in the build. Raises NameUnknown.
    """
    build_name, _, key = name.rpartition("/")
    if build_name or ":" in name:
        build = find_build(store, build_name or "latest")
        return build, _tasks_named(build, TaskKey(key))
    latest = BuildList.latest(store)
    if latest is not None and name in latest.recipes():
        return latest, _tasks_named(latest, TaskKey(name))
    build = find_build(store, name)
    built = tuple(key for key in _targets(build) if build.line(key) is not None)
    if not built:
        raise NameUnknown(
            f"build {short_id(build.commit)} has no output of its targets",
            hint="name a task that was built, such as zlib:install",
        )
    return build, built


def _targets(build: BuildList) -> list[TaskKey]:
    return [TaskKey(text) for text in build.facts().get("targets", "").split()]


def _tasks_named(build: BuildList, name: TaskKey) -> tuple[TaskKey, ...]:
    """Return a task of a build, or the targets of a recipe."""
    lines = build.lines(name.recipe)
    if name in lines:
        return (name,)
    if name.task or not lines:
        names = [key for recipe in build.recipes() for key in build.lines(recipe)]
        raise NameUnknown(
            f"build {short_id(build.commit)} has no {name}",
            hint=nearest(name, [*build.recipes(), *names]) or "run `prov builds` to list builds",
        )
    asked = tuple(key for key in _targets(build) if key in lines)
    if not asked:
        raise NameUnknown(
            f"no task of {name} is a target of build {short_id(build.commit)}",
            hint=f"name a task, such as {_with_output(lines)}",
        )
    return asked


def _with_output(lines: Mapping[TaskKey, Line]) -> TaskKey:
    """Return one of a recipe's tasks, if possible one with an output."""
    return max(lines, key=lambda key: (lines[key].output not in (None, EMPTY_TREE), key))
