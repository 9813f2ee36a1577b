"""Runs and records that no ref holds: what a ref that was damaged may have named."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prov.errors import StoreError
from prov.fsck.findings import RefName
from prov.fsck.reach import Reach
from prov.fsck.refs import RefChecker, run_of
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.record import read_record
from prov.records.refs import RECORDS
from prov.store.git import run_git
from prov.store.objects import Commit, Oid
from prov.store.repository import Store

Task = tuple[str, Oid]
"""RECIPE:TASK and task hash."""
_RECORD = re.compile(r"record of ([^/\s:]+:[^/\s:]+)\n")


@dataclass(slots=True)
class Orphans:
    """Whole commits that no ref holds, the oldest first."""

    runs: dict[Task, list[Oid]] = field(default_factory=dict)
    failed: dict[Task, list[Oid]] = field(default_factory=dict)
    records: dict[Task, list[Oid]] = field(default_factory=dict)
    builds: list[Oid] = field(default_factory=list)

    def take(self, kind: str, key: TaskKey, task_hash: TaskHash) -> Oid | None:
        """Return, and forget, the oldest commit of a kind that belongs to a task hash."""
        found = {"run": self.runs, "failed": self.failed, "record": self.records}[kind].get(
            (key, task_hash)
        )
        return found.pop(0) if found else None


def find_orphans(store: Store, reach: Reach, refs: Mapping[str, Oid]) -> Orphans:
    """Return the runs that none of these refs names, and the records and builds that none holds.

    `reach` has seen all refs. A run that no ref names may be held by a later one, which began where
    it ended.
    """
    found, checker = Orphans(), RefChecker(store.objects)
    seen = reach.whole | reach.broken.keys()
    named = {oid for name, oid in refs.items() if name.startswith("refs/tags/")}
    for _, oid, commit in sorted(_unnamed(store, reach, named), key=lambda each: each[:2]):
        run = run_of(store.objects, oid)
        record = _RECORD.fullmatch(commit.message)
        if run is not None:
            if not checker.wrong(run, oid) and reach.is_whole(oid):
                held = found.failed if run.kind == "failed" else found.runs
                held.setdefault((run.key, run.oid), []).append(oid)
        elif oid in seen:
            continue
        elif record is not None:
            inputs = read_record(store.objects, oid).task_hash or b""
            if not checker.wrong(
                RefName("record", TaskKey(record[1]), inputs), oid
            ) and reach.is_whole(oid):
                found.records.setdefault((TaskKey(record[1]), TaskHash(inputs)), []).append(oid)
        elif commit.message.startswith("build of ") and not checker.wrong(RefName("builds"), oid):
            found.builds.append(oid)
    return found


def has_builds(store: Store) -> bool:
    """Tell whether there are builds of which anything is left in the store, whatever refs say."""
    for oid in _commits(store):
        with contextlib.suppress(StoreError, ValueError):
            commit = store.objects.commit(oid)
            text = (
                store.objects.entry(commit.tree, "build")
                if commit.message.startswith("build of ")
                else None
            )
            if text is not None and store.objects.exists(text.oid):
                return True
    return False


def _unnamed(store: Store, reach: Reach, named: set[Oid]) -> Iterator[tuple[int, Oid, Commit]]:
    for oid in _commits(store):
        if oid in named:
            continue
        try:
            commit = store.objects.commit(oid)
            if commit.tree in reach.have:
                yield commit.author.seconds, oid, commit
        except (StoreError, ValueError):
            continue


def _commits(store: Store) -> list[Oid]:
    form = "--batch-check=%(objecttype) %(objectname)"
    answer = run_git(store.path, ["cat-file", "--batch-all-objects", "--unordered", form])
    return [
        bytes.fromhex(line[7:47].decode())
        for line in answer.split(b"\n")
        if line.startswith(b"commit ")
    ]


def tips(store: Store, orphans: Orphans) -> list[Oid]:
    """Return the builds that no ref holds and no other such build comes after, the newest last."""
    parents = {parent for oid in orphans.builds for parent in store.objects.commit(oid).parents}
    return [oid for oid in orphans.builds if oid not in parents]


def last_output(
    store: Store, refs: Mapping[str, Oid], key: TaskKey, task_hash: TaskHash
) -> Oid | None:
    """Return the output that the last run of a task hash had, of those that are recorded."""
    recipe_task, number, found = key.path, 1, None
    while True:
        name = f"{recipe_task}/{task_hash.hex()}/{number}"
        run, record = refs.get(f"refs/tags/{name}"), refs.get(f"{RECORDS}{name}")
        if run is None and record is None:
            return found
        with contextlib.suppress(StoreError, IndexError, ValueError):
            commit = store.objects.commit(run).parents[1] if run is not None else record
            assert commit is not None
            entry = store.objects.entry(store.objects.commit(commit).tree, "output")
            found = entry.oid if entry is not None else found
        number += 1
