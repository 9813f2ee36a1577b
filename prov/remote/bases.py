"""Records that both sides have, so that git can leave out of a transfer what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from prov.records.keys import TaskKey
from prov.remote.index import Index
from prov.remote.publication import Published, record_commit
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase

BASES = 4
"""So many of a task's earlier records are compared with."""
NEWEST = 200
"""So many of a recipe's records are looked at."""
MOST = 4000


def write_record_commits(repository: Path, records: Iterable[Oid]) -> list[Oid]:
    """Write the commits that hold records into a repository, which need not have the records;
    return their ids.
    """
    with ObjectDatabase(repository).writer() as writer:
        return [writer.add_commit(record_commit(tree)) for tree in records]


def choose_bases(
    index: Index, tasks: Iterable[Published], holds: Callable[[Published], bool]
) -> list[Oid]:
    """Return records that are here and at the remote: earlier ones of the recipes of some tasks.

    `holds` returns whether the store has a record, whole.
    """
    tasks = list(tasks)
    new = {task.record for task in tasks}
    bases: dict[Oid, None] = {}
    for recipe in dict.fromkeys(task.key.recipe for task in tasks):
        counts: dict[TaskKey, int] = {}
        for task in index.newest(recipe, NEWEST):
            count = counts.get(task.key, 0)
            if task.record not in new and count < BASES and holds(task):
                counts[task.key] = count + 1
                bases[task.record] = None
        if len(bases) >= MOST:
            break
    return list(bases)
