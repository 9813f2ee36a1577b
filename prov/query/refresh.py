"""Bring the tables up to date: only new runs and builds are read, deleted ones are deleted.

The refs of runs are compared with the rows as sets of lines, which takes 0.2 s for 100,000 runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from prov.processes import without_collecting
from prov.query.builds import NewBuilds, update_labels
from prov.query.contents import fill, remove_unused
from prov.query.runs import RunLine, add_runs, remove_runs
from prov.records.refs import OUTSIDE, RECORDS, TAGS
from prov.store.repository import Store
from prov.worktree.parallel import in_two_processes

MANY_BUILDS = 200
"""The number of new builds from which a second process reads them."""
_ROWS = """
select coalesce(workdir_commit, record_commit) || ' refs/'
    || case when workdir_commit is null then 'prov/' else 'tags/' end || tag from runs
"""


def refresh(store: Store, database: sqlite3.Connection, names: Iterable[str]) -> None:
    """Update all tables inside the connection's transaction; create those of `LAZY` in `names`."""
    with without_collecting():
        # builds first: when a build is in the history, its runs have refs
        new = NewBuilds.of(store, database)
        if len(new.builds) > MANY_BUILDS:
            rows = in_two_processes(
                lambda: _update_runs(store, database), new.read, "reading builds"
            )[1]
        else:
            rows = new.read()
            _update_runs(store, database)
        rows.insert(database, new.last)
        update_labels(store, database)
        fill(store, database, names)


def _update_runs(store: Store, database: sqlite3.Connection) -> None:
    lines = _run_lines(store)
    rows = {row[0].encode() for row in database.execute(_ROWS)}
    # the objects of these may have been restored
    problems = {row[0].encode() for row in database.execute(f"{_ROWS} where problem is not null")}
    removed = list(filter(None, map(RunLine.parse, (rows - lines) | problems)))
    if removed:
        remove_runs(database, [line.tag for line in removed])
        remove_unused(database)
    add_runs(store, database, lines - (rows - problems))


def _run_lines(store: Store) -> set[bytes]:
    """Return the refs of runs, and those of records whose run has none, as lines `ID NAME`."""
    outside = OUTSIDE.encode()
    tags = {line for line in store.refs.lines(TAGS) if line[41 : 41 + len(outside)] != outside}
    records = store.refs.lines(RECORDS)
    begin, of_record = 41 + len(TAGS), 41 + len(RECORDS)
    names = {line[begin:] for line in tags} if records else set()
    return tags | {line for line in records if line[of_record:] not in names}
