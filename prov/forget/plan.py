"""Taking something out of a store for good: a secret that got into a log or a file.

Everything that holds it is removed with it: the tree it is in, the commits of that tree, and every
ref to one of them. If only the WORKDIR of a run holds it, the record stays, as after a collection.
Later runs of the same directory stay: their history is written again without the removed commits.
Then the objects are deleted at once, whatever their age; no other process may be writing to the
store.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import NameUnknown, ProvError
from prov.forget.local import (
    clear_caches,
    clear_logs,
    files_with,
    remove_pool_files,
    remove_workdirs,
)
from prov.forget.remotes import Wanted, forget_at, has_text, search_exports, tree_has_text
from prov.forget.rewrite import Holders, Rewriter
from prov.history.names import find_run, runs
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import BUILDS, LABELS, PINS, RECORDS, OutputRef, RecordRef, parse_ref
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
"""Lists of builds: texts of prov's own, and the history of everything."""
_PLAIN = "refs/prov/workdir/plain/"


@dataclass(frozen=True, slots=True)
class Moved:
    """A ref that names another commit: the same run, with a history without the removed commits."""

    ref: str
    old: Oid
    new: Oid


@dataclass(frozen=True, slots=True)
class Plan:
    """What forgetting does to refs."""

    gone: tuple[Deletion, ...]
    moved: tuple[Moved, ...]
    records: dict[str, Oid]
    """Records that stay, and those that stand for a run in the numbers of its task hash: ref ->
    commit.
    """


@dataclass(slots=True)
class Forgotten:
    """What went, and where it could not be taken out."""

    refs: list[Deletion] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    swept: Swept = field(default_factory=lambda: Swept(0, 0))
    workdirs: list[Path] = field(default_factory=list)
    """Directories on disk that were removed."""
    pool_files: int = 0
    remotes: dict[str, int] = field(default_factory=dict)
    """Remote -> results that went there."""
    left: list[str] = field(default_factory=list)
    """Where it may still be, and why."""


def targets_of(store: Store, names: Sequence[str], text: bytes = b"") -> Wanted:
    """Return what is to go: runs by their names, everything that contains a text, or, with both,
    those runs of the named tasks that contain it.

    Raises NameUnknown when there is no such run. A text that is nowhere in the store may be at a
    remote.
    """
    if not text:
        return Wanted(
            {oid for name in names for oid in _run_and_record(store, find_run(store, name).commit)}
        )
    containing, scanned = _containing(store, text)
    if not names:
        return Wanted(containing, text, clean=scanned - containing)
    holders = Holders(store, containing)
    found: set[Oid] = set()
    keys: set[str] = set()
    for name in names:
        for key, task_hash, commit in _runs_named(store, name):
            keys.add(key)
            if not holders.commit_itself(commit):
                continue
            found |= _run_and_record(store, commit)
            output = store.refs.get(str(OutputRef(TaskKey(key), TaskHash(task_hash))))
            if output is not None and holders.commit_itself(output):
                found.add(output)
    return Wanted(found, text, frozenset(keys), clean=scanned - containing)


def _run_and_record(store: Store, commit: Oid) -> set[Oid]:
    return {commit, *store.objects.commit(commit).parents[1:]}


def _runs_named(store: Store, name: str) -> list[tuple[TaskKey, Oid, Oid]]:
    """Return task, task hash and commit of the runs that a name stands for: all of a task, or
    one.
    """
    if ":" not in name or "/" in name:
        run = find_run(store, name)
        return [(run.key, run.task_hash, run.commit)]
    recipe, _, task = name.partition(":")
    found: list[tuple[TaskKey, Oid, Oid]] = [
        (run.key, run.task_hash, run.commit) for run in runs(store, recipe, task)
    ]
    for ref_name, oid in store.refs.list(f"{RECORDS}{recipe}/{task}/").items():
        ref = parse_ref(ref_name)
        if isinstance(ref, RecordRef):
            found.append((ref.key, ref.task_hash, oid))
    if not found:
        find_run(store, name)  # which says what there is
    return found


def _containing(store: Store, text: bytes) -> tuple[set[Oid], set[Oid]]:
    """Return the files that hold a text, and the folders that have a name with it; and all that was
    searched.
    """
    found = set()
    scanned = {oid for pack in store.objects.packs() for oid in pack.sizes()}
    scanned |= {oid for _, oid, wrong in loose_objects(store.path) if not wrong}
    for oid in scanned:
        kind, data = store.objects.read(oid)
        if (kind == "blob" and has_text(iter((data,)), text)) or (
            kind == "tree" and tree_has_text(data, text)
        ):
            found.add(oid)
    return found - {_EMPTY_BLOB}, scanned


def plan_forget(store: Store, wanted: Wanted) -> Plan:
    """Return the refs that go, and those that move. Writes the commits that they move to; without
    refs these do no harm.
    """
    holders = Holders(store, wanted.objects)
    refs = {ref: oid for ref, oid in store.refs.list("refs/").items() if not ref.startswith(_KEPT)}
    going: list[Deletion] = []
    moved: list[Moved] = []
    with store.objects.writer() as writer:
        rewriter = Rewriter(store, writer, holders)
        for ref, oid in refs.items():
            if store.objects.read(oid)[0] != "commit":  # a user's own
                if _holds(store, holders, oid):
                    going.append(Deletion(ref, oid, RULE))
                continue
            if wanted.keys and _key_of(ref) not in ("", *wanted.keys):
                if not _descends(store, holders, ref, oid):
                    continue
            elif not holders.commit(oid):
                continue
            new = rewriter.without(oid)
            if holders.commit_itself(oid) and not (ref.startswith(_PLAIN) and new is not None):
                going.append(Deletion(ref, oid, RULE))
            elif new is not None and new != oid:
                moved.append(Moved(ref, oid, new))
        writer.finish()
    records = dict(_records(store, holders, refs, going))
    gone = tuple(
        Deletion(each.ref, each.oid, each.rule, _record_name(each.ref, records)) for each in going
    )
    return Plan(gone, tuple(moved), records)


def _holds(store: Store, holders: Holders, oid: Oid) -> bool:
    """Return whether the target of a user's ref, such as an annotated tag, holds an object to
    remove.
    """
    kind, data = store.objects.read(oid)
    if kind == "tree":
        return holders.tree(oid)
    if kind == "tag":
        named = bytes.fromhex(data.split(b"\n", 1)[0].removeprefix(b"object ").decode())
        is_commit = store.objects.read(named)[0] == "commit"
        return holders.commit(named) if is_commit else _holds(store, holders, named)
    return oid in holders.targets


def _descends(store: Store, holders: Holders, ref: str, oid: Oid) -> bool:
    """Return whether a run of another task has a commit to remove in its history, and is not one
    itself.
    """
    return ref.startswith("refs/tags/") and oid not in holders.targets and holders.commit(oid)


def _key_of(ref: str) -> str:
    """Return the task that a ref is about; empty where it is about no task."""
    parts = ref.split("/")
    if ref.startswith(("refs/prov/output/", "refs/prov/static/", RECORDS)):
        return ":".join(parts[3:5])
    if ref.startswith("refs/tags/failed/"):
        return ":".join(parts[3:5])
    if ref.startswith("refs/tags/") and not ref.startswith("refs/tags/outside/"):
        return ":".join(parts[2:4])
    return ""


def _record_name(ref: str, records: dict[str, Oid]) -> str:
    record = RECORDS + ref.removeprefix("refs/tags/")
    return record if ref.startswith("refs/tags/") and record in records else ""


def _records(
    store: Store, holders: Holders, refs: dict[str, Oid], gone: Iterable[Deletion]
) -> Iterable[tuple[str, Oid]]:
    """Yield the records that get a ref, by its name: of runs of which only the WORKDIR is removed.

    The numbers of a task hash must have no gap: for a run that is removed as a whole it is the next
    run's record.
    """
    out = {each.ref for each in gone}
    for each in gone:
        parts = each.ref.split("/")
        if (
            not each.ref.startswith("refs/tags/")
            or len(parts) != 6
            or parts[2] in ("failed", "outside")
        ):
            continue
        name = RECORDS + each.ref.removeprefix("refs/tags/")
        record = store.objects.commit(each.oid).parents[1]
        if each.oid not in holders.targets and not holders.commit_itself(record):
            yield name, record
            continue
        later = _next_record(store, refs, out, "/".join(parts[2:5]), int(parts[5]))
        if later is not None:
            yield name, later


def _next_record(
    store: Store, refs: dict[str, Oid], out: Collection[str], run: str, number: int
) -> Oid | None:
    """Return the record of the next run of a task hash that stays."""
    while True:
        number += 1
        tag, record = f"refs/tags/{run}/{number}", f"{RECORDS}{run}/{number}"
        if tag in refs and tag not in out:
            return store.objects.commit(refs[tag]).parents[1]
        if record in refs and record not in out:
            return refs[record]
        if tag not in refs and record not in refs:
            return None


def forget(
    store: Store, wanted: Wanted, work: Path | None, access: Access, *, plan: Plan | None = None
) -> Forgotten:
    """Take objects out of the store, out of what is on disk beside it, and out of the remotes that
    can be reached.

    `work` is the folder of WORKDIRs. Raises ProvError when another process writes to the store.
    """
    plan = plan or plan_forget(store, wanted)
    done = Forgotten(refs=list(plan.gone), moved=list(plan.moved))
    for remote in read_remotes(store):
        count = forget_at(store, remote, wanted, access, done.left)
        if count:
            done.remotes[remote.name] = count
    done.left += search_exports(store, wanted)
    if wanted.text and not (wanted.objects or done.remotes or done.left):
        store.objects.release()
        sweep(store.objects, thorough=True)  # of one that was killed
        _remove_traces(store, wanted, work, done)
        raise NameUnknown(
            _not_found(store, wanted),
            hint="is it spelled as in the file? compressed text is not found",
        )
    changed = [*(gone.ref for gone in plan.gone), *(moved.ref for moved in plan.moved)]
    done.workdirs = remove_workdirs(work, changed)
    _update(store, plan)
    done.pool_files = remove_pool_files(store, wanted.objects)
    store.objects.release()
    done.swept = sweep(store.objects, thorough=True)
    if done.swept.in_use:
        raise ProvError(
            "its refs are gone, and its objects are still there: another process is writing to the"
            " store",
            hint="run the same again when no build is running",
        )
    _remove_loose(store, wanted.objects)
    _remove_traces(store, wanted, work, done)
    return done


def _not_found(store: Store, wanted: Wanted) -> str:
    where = "the store or at its remotes" if read_remotes(store) else "the store"
    if wanted.keys:
        return f"no run of {', '.join(sorted(wanted.keys))} in {where} contains that text"
    return f"no file in {where} contains that text"


def _remove_traces(store: Store, wanted: Wanted, work: Path | None, done: Forgotten) -> None:
    """Remove what is beside objects and refs, and report what is left."""
    if not wanted.keys:
        clear_caches(store, wanted.text)
        clear_logs(store, wanted.text)
    else:
        clear_caches(store, b"")
        clear_logs(store, b"")
    _report_rest(store, wanted, work, done)


def _update(store: Store, plan: Plan) -> None:
    """Change all refs together."""
    if not plan.gone and not plan.moved:
        return
    Pruned(store).add(plan.gone, time.time())
    updates = [RefUpdate(each.ref, None, each.oid) for each in plan.gone]
    updates += [RefUpdate(ref, oid) for ref, oid in plan.records.items()]
    updates += [RefUpdate(each.ref, each.new, each.old) for each in plan.moved]
    store.refs.update(*updates)
    store.refs.pack(at_once=True)


def _report_rest(store: Store, wanted: Wanted, work: Path | None, done: Forgotten) -> None:
    """Look for what is still there."""
    left = [oid for oid in wanted.objects if store.objects.exists(oid)]
    if left:
        done.left.append(
            f"{store.path}: {len(left)} objects are held by refs that prov did not make, or in kept"
            " packs"
        )
    elif wanted.keys:
        others, _ = _containing(store, wanted.text)
        if others:
            count = f"{len(others)} file{'' if len(others) == 1 else 's'}"
            done.left.append(f"{store.path}: {count} with that text, in runs of other tasks")
    if (store.path / "damaged").exists():
        done.left.append(f"{store.path / 'damaged'}: packs that `prov fsck --repair` put aside")
    if work is not None and not wanted.keys:
        folders = (work, work.parent / "deploy")
        done.left += [
            f"{path}: a file on disk"
            for folder in folders
            for path in files_with(folder, wanted.text)
        ]


def _remove_loose(store: Store, targets: Iterable[Oid]) -> None:
    for oid in targets:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.path / "objects" / oid.hex()[:2] / oid.hex()[2:])
