"""Write advice as patches to recipe files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from prov.dependencies.advice import NATIVE_ARCHITECTURES, Advice
from prov.dependencies.findings import Certainty
from prov.dependencies.toml_edits import Path, add_item, remove_item
from prov.recipes.project import Project
from prov.recipes.recipe import NATIVE
from prov.records.keys import TaskKey

REMOVED = (Certainty.TRACED, Certainty.PROVED)
"""The certainties with which a patch removes a dependency."""


class Edit(NamedTuple):
    """A change of one array of a recipe file."""

    change: Callable[[str, Path, str], str | None]
    """`add_item` or `remove_item`."""
    path: Path
    item: str


@dataclass(frozen=True, slots=True)
class Patch:
    """A unified diff of a recipe file, for `patch -p1`, and what it does not contain."""

    text: str
    left_out: tuple[str, ...] = ()
    """Dependencies that the file does not name, such as those that a class adds."""


def patch_of(project: Project, advice: Advice) -> Patch:
    """Return advice as a patch to the recipe's file.

    Candidates are not removed. Raises OSError if the file is unreadable.
    """
    recipe = project.recipe(advice.recipe)
    old = recipe.path.read_text()
    name = os.path.relpath(recipe.path, project.root)
    new, left_out = old, []
    for subject, edits in _edits(project, advice):
        before = new
        for edit in edits:
            new = edit.change(new, edit.path, edit.item) or new
        if new == before:
            left_out.append(f"{name} does not list {subject}")
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return Patch("".join(lines), tuple(left_out))


def _edits(project: Project, advice: Advice) -> Iterator[tuple[str, list[Edit]]]:
    """Yield the subject of each finding, and the edits of which those that fit apply."""
    for unused in advice.unused:
        if unused.certainty in REMOVED:
            yield unused.package.recipe, list(_removals(project, advice.recipe, unused.package))
    for transitive in advice.transitive:
        yield transitive.package.recipe, [_addition(project, transitive.package.recipe)]
    for floating in advice.floating:
        if not floating.is_cyclic:
            yield floating.provider, [_addition(project, floating.provider)]
    for idle in advice.idle:
        if idle.certainty in REMOVED:
            path = ("tasks", idle.task.task, "hosttools")
            yield idle.tool, [Edit(remove_item, path, idle.tool)]


def _removals(project: Project, recipe: str, package: TaskKey) -> Iterator[Edit]:
    """Yield the edits that remove a package by each name that a recipe may use for it."""
    owner, name = project.recipe(recipe), package.recipe
    provided = project.recipe(name).provides
    for own in dict.fromkeys((name, name.removesuffix(NATIVE), *provided)):
        if project.resolve(own) == name:
            yield Edit(remove_item, ("depends",), own)
        yield Edit(remove_item, ("depends_native",), own)
        for task, table in owner.tasks.items():
            for text in table.needs:
                if text.startswith(f"{own}:"):
                    yield Edit(remove_item, ("tasks", task, "needs"), text)


def _addition(project: Project, name: str) -> Edit:
    is_native = project.recipe(name).arch in NATIVE_ARCHITECTURES
    table = "depends_native" if is_native else "depends"
    return Edit(add_item, (table,), name.removesuffix(NATIVE) if is_native else name)
