"""Choose the directories in which a task's reads are recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from prov.reads.watch import WatchedTree
from prov.recipes.recipe import NEVER_RECORDED
from prov.tasks.job import ComposedSysroot
from prov.tasks.sandbox import TaskPaths

_SKIPPED = frozenset(map(os.fsencode, NEVER_RECORDED))


def watched_trees(
    task_paths: TaskPaths, sysroots: Mapping[str, ComposedSysroot]
) -> Iterator[WatchedTree]:
    """Yield the WORKDIR, the sysroots and the direct packages of a task in a sandbox.

    Yield nothing for a task without a sandbox.
    `sysroots` are by their folders in the WORKDIR. The toolchain is not among the directories: all
    tasks use it at the same time, and it has thousands of folders.
    """
    if task_paths.root is None:
        return
    workdir = task_paths.workdir
    yield WatchedTree(workdir, task_paths.seen_workdir, skipped=_SKIPPED, writable=True)
    for folder, composed in sysroots.items():
        seen = task_paths.seen_sysroot(folder)
        if (workdir / folder).is_dir():
            yield WatchedTree(workdir / folder, seen, composed.folders)
    direct = task_paths.seen_direct()
    for recipe, path in task_paths.direct:
        yield WatchedTree(path, direct[recipe], shared=True)
