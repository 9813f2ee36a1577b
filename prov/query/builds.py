"""Keep the tables of builds equal to the history: only builds that the tables lack are read.

Builds are numbered in the order of the history. The last build can be replaced, and earlier states
of a build that continues disappear.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from prov.errors import StoreError
from prov.progress import report
from prov.query.runs import number_in, plain, storable
from prov.records.build_list import BuildList, walk_builds
from prov.records.keys import TaskKey
from prov.records.labels import labels_of, pinned
from prov.records.outcomes import Outcome, outcome_text
from prov.store.repository import Store

_COUNTS = ("ran", "restored", "fetched", "cut-off", "stale", "failed", "added")


@dataclass(frozen=True, slots=True)
class NewBuilds:
    """The builds of the history that the tables lack."""

    last: int
    """The number of the last build before them in the tables."""
    builds: list[BuildList]
    """The newest first."""

    @staticmethod
    def of(store: Store, database: sqlite3.Connection) -> NewBuilds:
        query = "select build from builds where id = ?"
        new: list[BuildList] = []
        for build in walk_builds(BuildList.latest(store)):
            row = database.execute(query, (build.commit.hex(),)).fetchone()
            if row is not None:
                return NewBuilds(row[0], new)
            new.append(build)
        return NewBuilds(0, new)

    def read(self) -> BuildRows:
        """Read the builds. This does not use the database, so it can run in a child process."""
        rows = BuildRows()
        for position, build in enumerate(reversed(self.builds), 1):
            if position % 64 == 0:
                report("reading builds", position, len(self.builds))
            rows.add(build, self.last + position)
        return rows


@dataclass(frozen=True, slots=True)
class BuildRows:
    """Rows of new builds."""

    builds: list[tuple[object, ...]] = field(default_factory=list)
    outcomes: list[tuple[object, ...]] = field(default_factory=list)
    continued: list[str] = field(default_factory=list)
    """Earlier states of these builds, which are not builds."""

    def add(self, build: BuildList, number: int) -> None:
        began = storable(build.store.objects.commit(build.commit).author.seconds)
        try:
            facts, outcomes, problem = build.facts(), list(_outcomes(build, number)), None
        except StoreError as error:
            facts, outcomes, problem = {}, [], str(error)
        texts = [plain(facts.get(name)) for name in ("result", "targets", "host", "builder")]
        counts = [_count(facts, name) for name in _COUNTS]
        seconds = number_in(facts, "seconds")
        row = (number, build.commit.hex(), began, seconds, *texts, *counts, 0, problem)
        self.builds.append(row)
        self.outcomes.extend(outcomes)
        self.continued.extend(commit.hex() for commit in build.continued())

    def insert(self, database: sqlite3.Connection, last: int) -> None:
        """Insert the rows, and delete the builds after `last` that left the history."""
        deleted = database.execute("delete from builds where build > ?", (last,)).rowcount
        for oid in self.continued:
            deleted += database.execute("delete from builds where id = ?", (oid,)).rowcount
        if deleted:
            database.execute("delete from outcomes where build not in (select build from builds)")
        marks = ", ".join("?" * 17)
        database.executemany(f"insert into builds values ({marks})", self.builds)
        database.executemany(
            "insert or replace into outcomes values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self.outcomes
        )


def _count(facts: dict[str, str], name: str) -> int | None:
    number = number_in(facts, name)
    return None if number is None else storable(int(number))


def _outcomes(build: BuildList, number: int) -> Iterator[tuple[object, ...]]:
    """Yield a row for each task that a build did not only restore. Raises StoreError."""
    reasons = build.reasons()
    spans = {span.key: span for span in build.timeline()}
    for key, text in build.happened().items():
        task_hash, run = None, None
        outcome, _, failed_hash = text.partition(" ")
        if outcome == Outcome.FAILED:
            task_hash = failed_hash or None
        else:
            outcome = text
        if outcome == Outcome.RESTORED:  # more rows than all others, and no news
            continue
        if outcome == Outcome.RAN:
            task_hash, run = _line(build, key)
        span = spans.get(key)
        yield (
            number,
            plain(key),
            plain(key.recipe),
            plain(outcome_text(outcome)),
            plain(task_hash),
            storable(run),
            span.began if span else None,
            span.seconds if span else None,
            storable(span.added) if span else None,
            plain(reasons.get(key)),
        )


def _line(build: BuildList, key: TaskKey) -> tuple[str | None, int | None]:
    """Return the task hash and the number of the run that a build lists for a task."""
    line = build.line(key)
    return (line.task_hash.hex(), line.run or None) if line is not None else (None, None)


def update_labels(store: Store, database: sqlite3.Connection) -> None:
    """Set the labels and pins of builds, if they changed."""
    labelled = labels_of(store)
    pins = {oid.hex() for oid in pinned(store)}
    numbers = _numbers(database, pins.union(oid.hex() for oid in labelled))
    labels = {
        (str(plain(label)), numbers[build.hex()])
        for build, names in labelled.items()
        for label in names
        if build.hex() in numbers
    }
    if labels != set(database.execute("select label, build from labels")):
        database.execute("delete from labels")
        database.executemany("insert or replace into labels values (?, ?)", sorted(labels))
    present = {row[0] for row in database.execute("select id from builds where pinned")}
    changed = (pins & numbers.keys()) ^ present
    database.executemany(
        "update builds set pinned = not pinned where id = ?", ((oid,) for oid in changed)
    )


def _numbers(database: sqlite3.Connection, ids: set[str]) -> dict[str, int]:
    """Return the numbers of builds by their commits."""
    query = "select build from builds where id = ?"
    rows = ((oid, database.execute(query, (oid,)).fetchone()) for oid in ids)
    return {oid: row[0] for oid, row in rows if row is not None}
