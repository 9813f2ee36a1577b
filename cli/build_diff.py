"""`prov diff` of two builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prov.errors import NameUnknown
from prov.history import builds, causes, diff, inputs
from prov.records import build_list, output
from prov.records.keys import TaskKey
from prov.store import repository
from prov.text import count_text, few

from .output import note, say, say_json, short_id

SHOWN_FILES = 20
"""Number of printed paths of each target's output."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two builds and their differences."""

    store: repository.Store
    old: build_list.BuildList
    new: build_list.BuildList
    difference: causes.BuildDifference
    files: Mapping[TaskKey, list[diff.Difference]]
    """Target -> the differing paths of its output."""

    def text(self, change: inputs.Change) -> list[str]:
        """Return the lines of a changed input."""
        return inputs.difference_text(self.store.objects, change)


def show_build_diff(store: repository.Store, name: str, other: str, *, json: bool) -> None:
    """Print the differences between two builds, or between a build and its predecessor."""
    if other:
        old, new = builds.find_build(store, name), builds.find_build(store, other)
    else:
        old, new = _with_predecessor(store, name)
    difference = causes.build_difference(store.objects, old, new)
    files = {key: _differing_files(store, old, new, key) for key in _targets(new)}
    files = {key: differences for key, differences in files.items() if differences}
    comparison = _Comparison(store, old, new, difference, files)
    if json:
        _print_json(comparison)
    else:
        _print(comparison)


def _with_predecessor(
    store: repository.Store, name: str
) -> tuple[build_list.BuildList, build_list.BuildList]:
    """Return a build and its predecessor.

    If no task ran in the build, use the last build in which a task ran instead.
    """
    new = builds.find_build(store, name)
    old = _predecessor(new, name)
    if new.happened():
        return old, new
    note(f"note: no task ran in build {short_id(new.commit)}")
    new = next((build for build in build_list.walk_builds(new) if build.happened()), new)
    return _predecessor(new, name), new


def _predecessor(build: build_list.BuildList, name: str) -> build_list.BuildList:
    before = build.before()
    if before is None:
        raise NameUnknown(
            f"{name} is the first build", hint="name a second build to compare it with"
        )
    return before


def _targets(build: build_list.BuildList) -> list[TaskKey]:
    return [TaskKey(target) for target in build.facts().get("targets", "").split()]


def _differing_files(
    store: repository.Store, old: build_list.BuildList, new: build_list.BuildList, key: TaskKey
) -> list[diff.Difference]:
    """Return the differing paths of a task's output; none if a build lacks the output."""
    tasks = (old.line(key), new.line(key))
    outputs = [task.output for task in tasks if task is not None and task.output is not None]
    if len(outputs) != 2 or outputs[0] == outputs[1]:
        return []
    before, after = (output.read_pair(store.objects, oid) for oid in outputs)
    return diff.diff_pairs(store.objects, before, after)


def _print_json(comparison: _Comparison) -> None:
    difference = comparison.difference
    recipes = {
        "versions": dict(difference.versions),
        "added": list(difference.added),
        "removed": list(difference.removed),
    }
    root_causes = [
        {
            "kind": cause.change.kind,
            "name": cause.change.name,
            "tasks": list(cause.tasks),
            "diff": comparison.text(cause.change),
        }
        for cause in difference.causes
    ]
    say_json(
        "build-diff",
        old=comparison.old.commit.hex(),
        new=comparison.new.commit.hex(),
        recipes=recipes,
        causes=root_causes,
        tasks=[_task_table(task) for task in difference.tasks],
        files={
            key: [difference.table() for difference in differences]
            for key, differences in comparison.files.items()
        },
    )


def _task_table(task: causes.TaskDifference) -> dict[str, Any]:
    return {
        "task": task.key,
        "old": task.old and task.old.task_hash.hex(),
        "new": task.new and task.new.task_hash.hex(),
        "failed": bool(task.new and task.new.output is None),
        "root_cause": bool(task.own),
    }


def _print(comparison: _Comparison) -> None:
    say(f"build {short_id(comparison.old.commit)} -> {short_id(comparison.new.commit)}")
    if not comparison.difference.tasks:
        say("no tasks changed")
    _print_recipes(comparison.difference)
    _print_tasks(comparison)
    for key, differences in comparison.files.items():
        say(f"files of {key}:")
        for changed in differences[:SHOWN_FILES]:
            say(f"  {changed.line}")
        if len(differences) > SHOWN_FILES:
            say(f"  and {len(differences) - SHOWN_FILES} more")


def _print_recipes(difference: causes.BuildDifference) -> None:
    for recipe, (before, after) in difference.versions.items():
        say(f"version of {recipe}: {before} -> {after}")
    if difference.added:
        say(f"new recipes: {', '.join(difference.added)}")
    if difference.removed:
        say(f"removed recipes: {', '.join(difference.removed)}")


def _print_tasks(comparison: _Comparison) -> None:
    difference = comparison.difference
    failed = [
        task.key for task in difference.tasks if task.new is not None and task.new.output is None
    ]
    if difference.causes:
        say("root causes:")
    for cause in difference.causes:
        same_inputs = cause.change.kind == causes.SAME_INPUTS
        if same_inputs and cause.tasks[0] in failed:
            say(f"  {cause.tasks[0]} failed with identical inputs")
        else:
            say(f"  {cause.title}")
        for line in comparison.text(cause.change):
            say(f"    {line}")
        if not same_inputs:
            say(f"    in {few(cause.tasks)}")
    if failed:
        say(f"failed: {', '.join(failed)}")
    followed = difference.followed
    if followed:
        say(f"affected: {count_text(len(followed), 'task')}: {few(followed)}")
