"""Find runs, records and builds that no ref holds: possible targets of damaged refs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from prov.errors import StoreError
from prov.fsck.reach import Reach
from prov.fsck.refs import RefChecker, run_of
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.record import read_record, record_of
from prov.records.refs import BUILDS, TAGS, RecordRef, RunRef, SingleRef
from prov.store.git import run_git
from prov.store.objects import Commit, Oid
from prov.store.repository import Store

_RECORD = re.compile(r"record of ([^/\s:]+:[^/\s:]+)\n")
_BUILD = "build of "
"""Prefix of the message of a build's commit."""


@dataclass(slots=True)
class Orphans:
    """Complete commits that no ref holds, the oldest first."""

    runs: dict[RunRef, list[CommitId]] = field(default_factory=dict)
    """Keyed by the first tag of their task hash."""
    records: dict[RecordRef, list[CommitId]] = field(default_factory=dict)
    """Keyed by the first ref of their task hash."""
    builds: list[CommitId] = field(default_factory=list)

    def add(self, ref: RunRef | RecordRef, commit: CommitId) -> None:
        """Append a commit that may be the target of a ref with any number."""
        if isinstance(ref, RunRef):
            self.runs.setdefault(replace(ref, number=1), []).append(commit)
        else:
            self.records.setdefault(replace(ref, number=1), []).append(commit)

    def take(self, ref: RunRef | RecordRef) -> CommitId | None:
        """Remove and return the oldest possible target of a ref, None if there is none."""
        if isinstance(ref, RunRef):
            commits = self.runs.get(replace(ref, number=1))
        else:
            commits = self.records.get(replace(ref, number=1))
        return commits.pop(0) if commits else None


def find_orphans(store: Store, reach: Reach, refs: Mapping[str, Oid]) -> Orphans:
    """Return the runs that no ref names, and the records and builds that no ref holds.

    `reach` has walked all refs. A run that no ref names may still be held by a later run that
    continued from it.
    """
    orphans, checker = Orphans(), RefChecker(store.objects)
    held = reach.whole | reach.broken.keys()
    named = {oid for name, oid in refs.items() if name.startswith(TAGS)}
    for _, oid, commit in sorted(_unnamed(store, reach, named), key=lambda row: row[:2]):
        ref = run_of(store.objects, oid)
        if ref is None and oid in held:
            continue
        orphan = ref if ref is not None else _other_ref(store, oid, commit)
        if orphan is None or checker.wrong(orphan, oid):
            continue
        if isinstance(orphan, SingleRef):
            orphans.builds.append(CommitId(oid))
        elif reach.is_whole(oid):
            orphans.add(orphan, CommitId(oid))
    return orphans


def _other_ref(store: Store, oid: Oid, commit: Commit) -> RecordRef | SingleRef | None:
    """Return a possible ref of a commit with the message of a record or a build."""
    record = _RECORD.fullmatch(commit.message)
    if record is not None:
        inputs = read_record(store.objects, oid).task_hash
        return RecordRef(TaskKey(record[1]), inputs or TaskHash(b""), 1)
    if commit.message.startswith(_BUILD):
        return SingleRef(BUILDS)
    return None


def has_builds(store: Store) -> bool:
    """Return whether the store has a build that is at least partly readable, even without refs."""
    return any(_is_build(store, oid) for oid in _commits(store))


def _is_build(store: Store, oid: Oid) -> bool:
    with contextlib.suppress(StoreError, ValueError):
        commit = store.objects.commit(oid)
        if commit.message.startswith(_BUILD):
            text = store.objects.entry(commit.tree, "build")
            return text is not None and store.objects.exists(text.oid)
    return False


def _unnamed(store: Store, reach: Reach, named: set[Oid]) -> Iterator[tuple[int, Oid, Commit]]:
    """Yield seconds, id and commit of each commit that has a tree but no tag."""
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


def tips(store: Store, orphans: Orphans) -> list[CommitId]:
    """Return the newest build of each chain of builds that no ref holds, the newest last."""
    parents = {parent for oid in orphans.builds for parent in store.objects.commit(oid).parents}
    return [oid for oid in orphans.builds if oid not in parents]


def last_output(
    store: Store, refs: Mapping[str, Oid], key: TaskKey, task_hash: TaskHash
) -> OutputId | None:
    """Return the output of the last run of a task hash that recorded one, or None."""
    output = None
    run = RunRef(key, task_hash, 1)
    while (commit := refs.get(str(run)) or refs.get(str(run.record))) is not None:
        with contextlib.suppress(StoreError, ValueError):
            record = record_of(store.objects, commit) if str(run) in refs else commit
            output = read_record(store.objects, record).output or output
        run = replace(run, number=run.number + 1)
    return output
