"""After a build without a sandbox, find stray writes: writes of tasks outside their WORKDIRs.

In the store, these are packs and settings that changed. In other recipes' WORKDIRs, they are files
that no task of these recipes recorded. Such files are kept like all changes outside tasks. The
report names the tasks that ran at the time of the write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prov.files import locked
from prov.recipes.graph import Graph
from prov.records.keys import TaskKey
from prov.records.record import read_workdir
from prov.store.repository import Store
from prov.tasks.job import Workspace
from prov.tasks.taskhash import OwnInputs
from prov.tasks.workdir import Workdir
from prov.worktree.attributes import EMPTY, walk

Span = tuple[str, float, float]
"""A task and the start and end of its run (seconds since the epoch)."""


@dataclass(slots=True)
class StoreSeal:
    """The state of the files in the store that prov never rewrites."""

    store: Store
    files: Mapping[str, tuple[int, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.files = self._look()

    def _look(self) -> dict[str, tuple[int, int, int]]:
        states = {}
        packs = self.store.path / "objects" / "pack"
        for path in [self.store.path / "HEAD", self.store.path / "config", *packs.glob("pack-*")]:
            try:
                state = path.lstat()
            except FileNotFoundError:
                continue
            states[str(path)] = (state.st_ino, state.st_size, state.st_mtime_ns)
        return states

    def broken(self) -> list[str]:
        """Return the files that changed since then.

        Missing packs do not count: prov combines packs.
        """
        now = self._look()
        return [path for path, state in self.files.items() if path in now and now[path] != state]


def stray_writes(
    workspace: Workspace,
    graph: Graph,
    own: Mapping[TaskKey, OwnInputs],
    spans: Iterable[Span],
    seal: StoreSeal,
) -> list[str]:
    """Return a line for each stray write."""
    spans = list(spans)
    notes = [
        f"{path} in the store was changed; {_suspects(spans, os.stat(path).st_mtime)}"
        for path in seal.broken()
    ]
    chains = {
        (node.arch, node.recipe.name, graph.chain(key)): node for key, node in graph.nodes.items()
    }
    for (arch, recipe, chain), node in sorted(chains.items()):
        if workspace.workdir(node, chain).is_dir():
            with (
                locked(workspace.store.cache / "locks" / f"{arch}-{recipe}"),
                workspace.store.objects.writer() as writer,
            ):
                workdir = Workdir(workspace, node, chain, writer, own[node.key].capture)
                notes += _changes(workdir, spans)
    return notes


def _changes(workdir: Workdir, spans: list[Span]) -> list[str]:
    """Record changes in a WORKDIR after its task; return a line for them."""
    writer, store = workdir.writer, workdir.workspace.store
    commit = store.refs.get(workdir.ref)
    before = dict(walk(writer, read_workdir(store.objects, commit))) if commit else {}
    start = workdir.settle()
    if not workdir.notes:
        return []
    after = dict(walk(writer, start.pair)) if start.pair != EMPTY else {}
    paths = before.keys() | after.keys()
    changed = sorted(path for path in paths if before.get(path) != after.get(path))
    nodes = [after[path] for path in changed if path in after]
    times = [node.mtime / 1e9 for node in nodes if node.mtime is not None]
    names = ", ".join(os.fsdecode(path) for path in changed[:3])
    suspects = _suspects(spans, max(times, default=0.0))
    return [f"{note} ({names}); {suspects}" for note in workdir.notes]


def _suspects(spans: list[Span], when: float) -> str:
    names = [key for key, begin, end in spans if begin - 0.05 <= when <= end + 0.05]
    if not names:
        return "no task of this build ran at that time"
    return f"{' or '.join(names)} ran at that time"
