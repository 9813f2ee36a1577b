"""Delete content from a store permanently, such as a secret in a log or a file.

All objects that contain it are deleted: the tree with it, the commits of that tree, and every ref
to such a commit. If only the WORKDIR of a run contains it, the record stays, as after a collection.
Later runs of the same directory stay, with a history rewritten without the deleted commits. Finally
the objects are deleted immediately, regardless of age. No other process may be writing to the
store.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prov.errors import NameUnknown, ProvError
from prov.forget.local import (
    clear_caches,
    clear_logs,
    files_with,
    remove_pool_files,
    remove_workdirs,
)
from prov.forget.remotes import Targets, forget_at, has_text, search_exports, tree_has_text
from prov.forget.rewrite import Holders, Rewriter
from prov.history.builds import split_steps
from prov.history.names import find_run, runs
from prov.records.keys import TaskKey
from prov.records.record import record_of
from prov.records.refs import (
    BUILDS,
    DIRECTORIES,
    LABELS,
    OUTPUTS,
    OUTSIDE,
    PINS,
    RECORDS,
    REFS,
    STATICS,
    TAGS,
    OutputRef,
    RecordRef,
    RunRef,
    StaticRef,
    parse_ref,
)
from prov.remote.settings import read_remotes
from prov.store.integrity import loose_objects
from prov.store.objects import Oid, object_id
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import Swept, sweep
from prov.transport.access import Access
from prov.upkeep.pruned import Deletion, Pruned

_EMPTY_BLOB = object_id("blob", b"")
RULE = "forgotten"
_KEPT = (BUILDS, LABELS, PINS)
"""Refs of the lists of builds. prov writes these texts, and they are the history of all results."""


@dataclass(frozen=True, slots=True)
class Move:
    """A ref with a history rewritten without the deleted commits."""

    ref: str
    old: Oid
    new: Oid


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """The changes to refs."""

    deletions: tuple[Deletion, ...]
    moves: tuple[Move, ...]
    records: dict[str, Oid]
    """Ref -> commit of the records that stay, including those that close gaps in numbers."""


@dataclass(slots=True)
class Forgotten:
    """What was deleted, and where it could not be deleted."""

    deletions: list[Deletion] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    swept: Swept = field(default_factory=lambda: Swept(0, 0))
    workdirs: list[Path] = field(default_factory=list)
    """Deleted directories on disk."""
    pool_files: int = 0
    remotes: dict[str, int] = field(default_factory=dict)
    """Remote -> number of results deleted from it."""
    left: list[str] = field(default_factory=list)
    """Places that may still have the content, with the reason."""


# targets


def targets_of(store: Store, names: Sequence[str], text: bytes = b"") -> Targets:
    """Return the objects to delete.

    These are the named runs, all objects that contain a text, or, with both, the runs of the named
    tasks that contain it. Raises NameUnknown for an unknown run. A text that is not in the store
    may be at a remote.
    """
    if not text:
        commits = [find_run(store, name).commit for name in names]
        return Targets({oid for commit in commits for oid in _run_and_record(store, commit)})
    containing, scanned = _containing(store, text)
    clean = scanned - containing
    if not names:
        return Targets(containing, text, clean=clean)
    series = [row for name in names for row in _runs_named(store, name)]
    objects = _holding_runs(store, series, Holders(store, containing))
    return Targets(objects, text, frozenset(output.key for output, _ in series), clean)


def _holding_runs(
    store: Store, rows: Iterable[tuple[OutputRef, Oid]], holders: Holders
) -> set[Oid]:
    """Return the runs that contain a target, with their records and outputs."""
    objects: set[Oid] = set()
    for ref, commit in rows:
        if not holders.commit_itself(commit):
            continue
        objects |= _run_and_record(store, commit)
        output = store.refs.get(str(ref))
        if output is not None and holders.commit_itself(output):
            objects.add(output)
    return objects


def _run_and_record(store: Store, commit: Oid) -> set[Oid]:
    return {commit, *store.objects.commit(commit).parents[1:]}


def _runs_named(store: Store, name: str) -> list[tuple[OutputRef, Oid]]:
    """Return output ref and commit of the runs with a name: all runs of a task, or one run."""
    if ":" not in name or "/" in name or split_steps(name)[1]:
        run = find_run(store, name)
        return [(OutputRef(run.key, run.task_hash), run.commit)]
    key = TaskKey(name)
    rows: list[tuple[OutputRef, Oid]] = [
        (OutputRef(run.key, run.task_hash), run.commit) for run in runs(store, key.recipe, key.task)
    ]
    for ref_name, oid in store.refs.list(f"{RECORDS}{key.path}/").items():
        ref = parse_ref(ref_name)
        if isinstance(ref, RecordRef):
            rows.append((OutputRef(ref.key, ref.task_hash), oid))
    if not rows:
        find_run(store, name)  # raises an error with similar names
    return rows


def _containing(store: Store, text: bytes) -> tuple[set[Oid], set[Oid]]:
    """Return the files that contain a text, and the folders with it in a name.

    Also returns all searched objects.
    """
    scanned = {oid for pack in store.objects.packs() for oid in pack.sizes()}
    scanned |= {oid for _, oid, wrong in loose_objects(store.path) if not wrong}
    containing = {oid for oid in scanned if _contains(store, oid, text)}
    return containing - {_EMPTY_BLOB}, scanned


def _contains(store: Store, oid: Oid, text: bytes) -> bool:
    kind, data = store.objects.read(oid)
    if kind == "tree":
        return tree_has_text(data, text)
    return kind == "blob" and has_text(iter((data,)), text)


# refs


def plan_forget(store: Store, targets: Targets) -> ForgetPlan:
    """Return the refs to delete and to move.

    Writes the commits that refs move to. Without refs, they are harmless.
    """
    holders = Holders(store, targets.objects)
    refs = {ref: oid for ref, oid in store.refs.list(REFS).items() if not ref.startswith(_KEPT)}
    with store.objects.writer() as writer:
        decider = _RefDecisions(store, targets, holders, Rewriter(store, writer, holders))
        decisions = [decider.decide(name, oid) for name, oid in refs.items()]
        writer.finish()
    deletions = [decision for decision in decisions if isinstance(decision, Deletion)]
    moves = tuple(decision for decision in decisions if isinstance(decision, Move))
    records = dict(_records(store, holders, refs, deletions))
    with_records = (
        replace(deletion, record=_record_name(deletion.ref, records)) for deletion in deletions
    )
    return ForgetPlan(tuple(with_records), moves, records)


@dataclass(frozen=True, slots=True)
class _RefDecisions:
    """Decides what happens to each ref."""

    store: Store
    targets: Targets
    holders: Holders
    rewriter: Rewriter

    def decide(self, name: str, oid: Oid) -> Deletion | Move | None:
        """Return the change of a ref, None if it is unchanged."""
        if self.store.objects.read(oid)[0] != "commit":  # a user's ref
            return Deletion(name, oid, RULE) if self._holds(oid) else None
        if not self._is_concerned(name, oid):
            return None
        replacement = self.rewriter.without(oid)
        continues = name.startswith(DIRECTORIES) and replacement is not None
        if self.holders.commit_itself(oid) and not continues:
            return Deletion(name, oid, RULE)
        if replacement is not None and replacement != oid:
            return Move(name, oid, replacement)
        return None

    def _is_concerned(self, name: str, oid: Oid) -> bool:
        """Return whether a ref points to a commit to delete, or has one in its history.

        A ref of a task other than the named ones counts only in the second case: its run started
        from a commit to delete.
        """
        if not self.targets.keys or not is_of_others(name, self.targets.keys):
            return self.holders.commit(oid)
        return (
            name.startswith(TAGS) and oid not in self.targets.objects and self.holders.commit(oid)
        )

    def _holds(self, oid: Oid) -> bool:
        """Return whether a user's ref, such as an annotated tag, has an object to delete."""
        kind, data = self.store.objects.read(oid)
        if kind == "tree":
            return self.holders.tree(oid)
        if kind == "tag":
            named = bytes.fromhex(data.split(b"\n", 1)[0].removeprefix(b"object ").decode())
            is_commit = self.store.objects.read(named)[0] == "commit"
            return self.holders.commit(named) if is_commit else self._holds(named)
        return oid in self.holders.targets


def is_of_others(name: str, keys: Collection[str]) -> bool:
    """Return whether a ref belongs to a task outside `keys`. A user's own tag does not."""
    ref = parse_ref(name)
    if isinstance(ref, RunRef | RecordRef | OutputRef | StaticRef):
        return ref.key not in keys
    return name.startswith((TAGS, OUTPUTS, STATICS, RECORDS)) and not name.startswith(OUTSIDE)


def _run_with_record(name: str) -> RunRef | None:
    """Return the run of a tag if its record can stay."""
    ref = parse_ref(name)
    return ref if isinstance(ref, RunRef) and not ref.failed else None


def _record_name(name: str, records: Mapping[str, Oid]) -> str:
    run = _run_with_record(name)
    return str(run.record) if run is not None and str(run.record) in records else ""


def _records(
    store: Store, holders: Holders, refs: Mapping[str, Oid], deletions: Iterable[Deletion]
) -> Iterator[tuple[str, Oid]]:
    """Yield ref and commit of records that stay, for runs of which only the WORKDIR is deleted.

    The numbers of a task hash must have no gap, so a fully deleted run gets the record of the next
    run.
    """
    deleted = {deletion.ref for deletion in deletions}
    remaining = {name: oid for name, oid in refs.items() if name not in deleted}
    for deletion in deletions:
        run = _run_with_record(deletion.ref)
        if run is None:
            continue
        record: Oid | None = record_of(store.objects, deletion.oid)
        assert record is not None
        if deletion.oid in holders.targets or holders.commit_itself(record):
            record = _next_record(store, refs, remaining, run)
        if record is not None:
            yield str(run.record), record


def _next_record(
    store: Store, refs: Mapping[str, Oid], remaining: Mapping[str, Oid], run: RunRef
) -> Oid | None:
    """Return the record of the next remaining run of a task hash, None if there is none."""
    while True:
        run = replace(run, number=run.number + 1)
        tag, record = str(run), str(run.record)
        if tag in remaining:
            return record_of(store.objects, remaining[tag])
        if record in remaining:
            return remaining[record]
        if tag not in refs and record not in refs:
            return None


# deletion


def forget(
    store: Store,
    targets: Targets,
    work: Path | None,
    access: Access,
    *,
    plan: ForgetPlan | None = None,
) -> Forgotten:
    """Delete objects from the store, from files beside it, and from all reachable remotes.

    `work` is the folder of WORKDIRs. Raises ProvError if another process is writing to the store.
    """
    plan = plan or plan_forget(store, targets)
    result = Forgotten(deletions=list(plan.deletions), moves=list(plan.moves))
    for remote in read_remotes(store):
        count = forget_at(store, remote, targets, access, result.left)
        if count:
            result.remotes[remote.name] = count
    result.left += search_exports(store, targets)
    if targets.text and not (targets.objects or result.remotes or result.left):
        store.objects.release()
        sweep(store.objects, thorough=True)  # a killed process may have left objects
        _remove_traces(store, targets, work, result)
        raise NameUnknown(
            _not_found(store, targets),
            hint="check the spelling; text in compressed files is not found",
        )
    _remove(store, targets, plan, work, result)
    _remove_traces(store, targets, work, result)
    return result


def _remove(
    store: Store, targets: Targets, plan: ForgetPlan, work: Path | None, result: Forgotten
) -> None:
    """Delete directories, refs and objects."""
    changed = [*(row.ref for row in plan.deletions), *(row.ref for row in plan.moves)]
    # first, because a build records the content of WORKDIRs again
    result.workdirs = remove_workdirs(work, changed)
    _update(store, plan)
    result.pool_files = remove_pool_files(store, targets.objects)
    store.objects.release()
    result.swept = sweep(store.objects, thorough=True)
    if result.swept.in_use:
        raise ProvError(
            "refs deleted, but not the objects: another process is writing to the store",
            hint="run the command again when no build is running",
        )
    _remove_loose(store, targets.objects)


def _not_found(store: Store, targets: Targets) -> str:
    where = "the store or at its remotes" if read_remotes(store) else "the store"
    if targets.keys:
        return f"no run of {', '.join(sorted(targets.keys))} in {where} contains that text"
    return f"no file in {where} contains that text"


def _remove_traces(store: Store, targets: Targets, work: Path | None, result: Forgotten) -> None:
    """Delete content outside objects and refs, and report what is left."""
    text = b"" if targets.keys else targets.text
    clear_caches(store, text)
    clear_logs(store, text)
    result.left += _remaining(store, targets, work)


def _update(store: Store, plan: ForgetPlan) -> None:
    """Change all refs in one transaction."""
    if not plan.deletions and not plan.moves:
        return
    Pruned(store).add(plan.deletions, time.time())
    updates = [RefUpdate(row.ref, None, row.oid) for row in plan.deletions]
    updates += [RefUpdate(ref, oid) for ref, oid in plan.records.items()]
    updates += [RefUpdate(row.ref, row.new, row.old) for row in plan.moves]
    store.refs.update(*updates)
    store.refs.pack(at_once=True)


def _remaining(store: Store, targets: Targets, work: Path | None) -> Iterator[str]:
    """Yield the places on this machine that still have the content, with the reason."""
    count = sum(store.objects.exists(oid) for oid in targets.objects)
    if count:
        yield f"{store.path}: {count} objects are in kept packs, or held by refs of other programs"
    elif targets.keys:
        yield from _in_other_tasks(store, targets)
    if (store.path / "damaged").exists():
        yield f"{store.path / 'damaged'}: damaged packs moved there by `prov fsck --repair`"
    if work is not None and not targets.keys:
        for folder in (work, work.parent / "deploy"):
            for path in files_with(folder, targets.text):
                yield f"{path}: a file on disk"


def _in_other_tasks(store: Store, targets: Targets) -> Iterator[str]:
    count = len(_containing(store, targets.text)[0])
    if count:
        files = "1 file" if count == 1 else f"{count} files"
        yield f"{store.path}: {files} with that text in runs of other tasks"


def _remove_loose(store: Store, targets: Iterable[Oid]) -> None:
    for oid in targets:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.path / "objects" / oid.hex()[:2] / oid.hex()[2:])
