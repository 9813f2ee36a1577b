"""Files in outputs that embed paths of the place where they were built."""

from __future__ import annotations

import os
from dataclasses import dataclass

from prov.errors import NameUnknown
from prov.records.build_list import BuildList, walk_builds
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.store.repository import Store
from prov.tasks.relocate import marks
from prov.text import nearest
from prov.worktree.attributes import EMPTY, FileNode
from prov.worktree.path_tokens import HELD, NAMES


@dataclass(frozen=True, slots=True)
class EmbeddedPath:
    """A file in an output that embeds paths of the place where it was built."""

    task: TaskKey
    path: str
    kind: str
    """`text` or `binary`, with tokens; or `held`: it keeps the path."""
    places: tuple[str, ...]
    """WORKDIR, SYSROOT, NATIVE, HOSTTOOLS."""

    @property
    def held(self) -> bool:
        """Whether the file cannot be used elsewhere."""
        return self.kind == HELD.decode()


def embedded_paths(store: Store, recipe: str) -> list[EmbeddedPath]:
    """Return the files with embedded paths in all outputs of a recipe as last built.

    Raises NameUnknown.
    """
    files = []
    for key, line in sorted(_last_build_of(store, recipe).lines(recipe).items()):
        pair = read_pair(store.objects, line.output) if line.output else EMPTY
        files += [_embedded(key, path, node) for path, node in marks(store.objects, pair)]
    return files


def _last_build_of(store: Store, recipe: str) -> BuildList:
    latest = BuildList.latest(store)
    having = (build for build in walk_builds(latest) if build.lines(recipe))
    build = next(having, None)
    if build is None:
        hint = nearest(recipe, latest.recipes()) if latest else "`prov build`"
        raise NameUnknown(f"no build of {recipe} is recorded", hint=hint)
    return build


def _embedded(key: TaskKey, path: bytes, node: FileNode) -> EmbeddedPath:
    kind, _, letters = node.fixme.decode().partition(":")
    places = tuple(NAMES[letter.encode()].decode() for letter in letters)
    return EmbeddedPath(key, os.fsdecode(path), kind, places)
