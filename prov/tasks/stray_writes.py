"""Without a sandbox, a task can write where it should not; after a build, what was hit is found and
named.

In the store: packs and settings that are not as they were. In other recipes' WORKDIRs: content that
no task of theirs recorded; it is kept like anything changed outside a task, and the tasks that ran
when it was written are named.
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
"""A task and when it ran: seconds since the epoch."""


@dataclass(slots=True)
class StoreSeal:
    """The store's files as they were at a moment; only what prov itself never rewrites."""

    store: Store
    files: Mapping[str, tuple[int, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.files = self._look()

    def _look(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        packs = self.store.path / "objects" / "pack"
        for path in [self.store.path / "HEAD", self.store.path / "config", *packs.glob("pack-*")]:
            try:
                state = path.lstat()
            except FileNotFoundError:
                continue
            found[str(path)] = (state.st_ino, state.st_size, state.st_mtime_ns)
        return found

    def broken(self) -> list[str]:
        """Return the files that were written to since.

        Packs that are gone were joined with others.
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
    """Return a line for everything that was written where no task should write."""
    spans = list(spans)
    notes = [
        f"{path} in the store was written to; {_suspects(spans, os.stat(path).st_mtime)}"
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
    """Keep what was changed in a WORKDIR after its task; return a line for it."""
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
    return f"{' or '.join(names)} ran then" if names else "no task of this build ran then"
