"""Choose records that both sides have, so that git omits their objects from a transfer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from prov.records.keys import TaskKey
from prov.remote.index import Index
from prov.remote.publication import Published, record_commit
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase

BASES = 4
"""The maximum number of earlier records used per task."""
NEWEST = 200
"""The number of a recipe's newest records to examine."""
MOST = 4000
"""No further recipe is examined once this many records are chosen."""


def write_record_commits(repository: Path, records: Iterable[Oid]) -> list[Oid]:
    """Write the commits of records into a repository, even if it lacks the records; return ids."""
    with ObjectDatabase(repository).writer() as writer:
        return [writer.add_commit(record_commit(tree)) for tree in records]


def choose_bases(
    index: Index, tasks: Iterable[Published], holds: Callable[[Published], bool]
) -> list[Oid]:
    """Return earlier records of the tasks' recipes that both the store and the remote have.

    `holds` returns whether the store has a complete record.
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
