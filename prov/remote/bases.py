"""What both sides have: the records from which a server, or git here, tells what must not be
sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

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
    index: Index, wanted: Iterable[Published], holds: Callable[[Published], bool]
) -> list[Oid]:
    """Return earlier records of the same recipes that are here and at the remote: what both sides
    compare with.
    """
    found: dict[Oid, None] = {}
    new = {task.record for task in wanted}
    for recipe in dict.fromkeys(task.key.recipe for task in wanted):
        seen: dict[str, int] = {}
        for task in index.newest(recipe, NEWEST):
            if task.record not in new and seen.get(task.key, 0) < BASES and holds(task):
                seen[task.key] = seen.get(task.key, 0) + 1
                found[task.record] = None
        if len(found) >= MOST:
            break
    return list(found)
