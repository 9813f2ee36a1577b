"""The candidates of a bisection: consecutive builds, and the tree to judge in each."""

from __future__ import annotations

import os
from dataclasses import dataclass

from prov.bisect.log import Question
from prov.errors import NameUnknown, ProvError, StoreError
from prov.history.builds import find_build
from prov.history.directories import PARTS, find_directory
from prov.records.build_list import BuildList, Line
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.refs import RunRef
from prov.store.repository import Store
from prov.text import nearest
from prov.worktree.attributes import Pair, at_path


@dataclass(frozen=True, slots=True)
class Candidates:
    """The builds from the good one to the bad one, and the id of each build's tree to judge."""

    builds: list[BuildList]
    trees: list[str | None]


def candidates_of(store: Store, question: Question) -> Candidates:
    """Return the candidates of a question. Raises ProvError if it has no answer."""
    good, bad = (find_build(store, name) for name in (question.good, question.bad))
    builds = _line(good, bad)
    trees = [tree_in(store, question.name, build) for build in builds]
    for tree, build in ((trees[0], good), (trees[-1], bad)):
        if tree is None:
            raise NameUnknown(
                f"build {build.commit.hex()[:12]} has no {question.name}",
                hint=_near(build, question.name),
            )
    if trees[0] == trees[-1]:
        raise ProvError(
            f"{question.name} is identical in the good and the bad build",
            hint="use --of to judge a different output",
        )
    return Candidates(builds, trees)


def _line(good: BuildList, bad: BuildList) -> list[BuildList]:
    """Return the builds from the good one to the bad one."""
    builds = [bad]
    while builds[-1].commit != good.commit:
        before = builds[-1].before()
        if before is None:
            raise ProvError(
                f"build {good.commit.hex()[:12]} is not before {bad.commit.hex()[:12]}",
                hint=(
                    "pass the older build as GOOD; to find a fix, invert the command's exit status"
                ),
            )
        builds.append(before)
    return builds[::-1]


def _near(build: BuildList, name: str) -> str:
    """Return a hint for a name that a build does not have."""
    key, _, part = name.partition("@")
    if build.line(TaskKey(key)) is None:
        listed = [line for recipe in build.recipes() for line in build.lines(recipe)]
        return nearest(key, listed) or "use TASK@PART, such as --of app:image@output"
    kind = part.partition("/")[0]
    if kind not in PARTS:
        return nearest(kind, PARTS) or f"use one of @{', @'.join(PARTS)}"
    return f"run `prov checkout {build.commit.hex()[:12]}/{key}@{kind} DIR` to see its content"


def tree_in(store: Store, name: str, build: BuildList) -> str | None:
    """Return the id of a named directory in a build, None if `pair_in` returns None."""
    pair = pair_in(store, name, build)
    return tree_id(pair) if pair is not None else None


def pair_in(store: Store, name: str, build: BuildList) -> Pair | None:
    """Return a named directory in a build, None if the task failed or was not built."""
    key, _, part = name.partition("@")
    line = build.line(TaskKey(key))
    return part_of(store, line, part) if line is not None else None


def part_of(store: Store, line: Line, part: str) -> Pair | None:
    """Return a part of a task's run, such as `output/usr/bin` or `sysroot`.

    Returns None if it is not in the store.
    """
    kind, _, folder = part.partition("/")
    try:
        if kind == "output" and line.output is not None:
            node = at_path(
                store.objects, read_pair(store.objects, line.output), os.fsencode(folder)
            )
            return node.pair if node is not None and node.is_directory else None
        number = line.run or Records(store).last_run(line.key, line.task_hash)[0]
        return find_directory(store, f"{RunRef(line.key, line.task_hash, number).tag}@{part}").pair
    except (NameUnknown, StoreError):  # no such folder, or not in this store
        return None


def tree_id(pair: Pair) -> str:
    """Return the id of a tree in the log: the ids of the tree and of its attributes."""
    if pair.attributes is None:
        return pair.tree.hex()
    return f"{pair.tree.hex()}+{pair.attributes.hex()}"
