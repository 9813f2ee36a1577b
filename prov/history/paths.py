"""Which files of what a recipe gives name the place where they were made."""

from __future__ import annotations

import os
from dataclasses import dataclass

from prov.errors import NameUnknown
from prov.records.build_list import BuildList
from prov.records.output import read_pair
from prov.store.repository import Store
from prov.tasks.relocate import marks
from prov.text import nearest
from prov.worktree.path_tokens import HELD, NAMES


@dataclass(frozen=True, slots=True)
class NamedPlace:
    """A file in an output that names its place."""

    task: str
    path: str
    kind: str
    """`text` or `binary`, with tokens; or `held`: it keeps the path."""
    places: tuple[str, ...]
    """WORKDIR, SYSROOT, NATIVE, HOSTTOOLS."""

    @property
    def held(self) -> bool:
        return self.kind == HELD.decode()


def named_places(store: Store, recipe: str) -> list[NamedPlace]:
    """Return such files of all outputs of a recipe as last built. Raises NameUnknown."""
    build = BuildList.latest(store)
    while build is not None and not build.lines(recipe):
        build = build.before()
    if build is None:
        known = BuildList.latest(store)
        raise NameUnknown(
            f"no build of {recipe} is recorded",
            hint=nearest(recipe, known.recipes()) if known else "`prov build`",
        )
    found = []
    for key, line in sorted(build.lines(recipe).items()):
        pair = read_pair(store.objects, line.output) if line.output else None
        for path, node in marks(store.objects, pair) if pair else []:
            kind, _, letters = node.fixme.decode().partition(":")
            places = tuple(NAMES[letter.encode()].decode() for letter in letters)
            found.append(NamedPlace(key, os.fsdecode(path), kind, places))
    return found
