"""List output files that embed build paths."""

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
    """An output file that embeds build paths."""

    task: TaskKey
    path: str
    kind: str
    """`text` or `binary` if the paths are recorded as tokens; `held` if they cannot be."""
    places: tuple[str, ...]
    """The embedded directories: WORKDIR, SYSROOT, NATIVE, HOSTTOOLS."""

    @property
    def held(self) -> bool:
        """Whether the file is not relocatable."""
        return self.kind == HELD.decode()


def embedded_paths(store: Store, recipe: str) -> list[EmbeddedPath]:
    """Return the files that embed build paths in all outputs of a recipe's last build.

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
        hint = nearest(recipe, latest.recipes()) if latest else "run `prov build`"
        raise NameUnknown(f"no build of {recipe} is recorded", hint=hint)
    return build


def _embedded(key: TaskKey, path: bytes, node: FileNode) -> EmbeddedPath:
    kind, _, letters = node.fixme.decode().partition(":")
    places = tuple(NAMES[letter.encode()].decode() for letter in letters)
    return EmbeddedPath(key, os.fsdecode(path), kind, places)
