"""Repair a damaged store: restore lost objects from other places, and delete the refs to the rest.

Objects are repaired before refs. Each step is durable before the next and useful by itself, so a
kill in between leaves the store no worse, and the next repair continues. The repair holds the lease
exclusively, so no build uses an object that is about to be deleted. Deleted refs are written to
`pruned` first.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.files import remove_tree, replace_file, try_locked
from prov.fsck.check import Findings, Report, check, head_problem
from prov.fsck.disk import memories
from prov.fsck.findings import Problem
from prov.fsck.mend import Mending, Repaired, damage_of
from prov.fsck.orphans import find_orphans
from prov.fsck.packs import leave_out, salvage_pack, set_aside
from prov.fsck.reach import Reach
from prov.fsck.refs import RefChecker
from prov.fsck.sources import Sources, restore
from prov.query.table_file import TableFile
from prov.store.integrity import loose_objects
from prov.store.libgit2 import open_repository
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.rawrefs import RawRefs, read_refs, write_packed
from prov.store.refs import HEAD, RefUpdate
from prov.store.repository import Store
from prov.upkeep.pruned import Deletion, Pruned
from prov.worktree.pool import Pool

RULE = "fsck"


@dataclass(frozen=True, slots=True)
class Repair:
    """The problems before a repair, its steps, and the problems after it."""

    before: Findings
    done: list[Repaired]
    after: Findings


def repair_head(path: Path) -> bool:
    """Rewrite a store's HEAD if it is damaged, and return whether it was."""
    if head_problem(path) is None:
        return False
    replace_file(path / "HEAD", HEAD)
    open_repository(path)
    return True


def repair(
    store: Store, sources: Sources, *, thorough: bool = False, report: Report = lambda text: None
) -> Repair:
    """Check a store, repair it, and check it again.

    Raises StoreError, before any change, while a build is running.
    """
    with try_locked(store.objects.lease) as alone:
        if not alone:
            raise StoreError(
                f"cannot repair {store.path}: a build is running",
                hint="run the command again after the build has ended",
            )
        before = check(store, thorough=thorough, report=report)
        if not before.problems:
            return Repair(before, [], before)
        repaired = _repair(store, before, sources, report)
        repaired += _repair_disk(store, before.problems)
        TableFile(store).discard()  # it lacks what was unreadable
        report("checking again")
        after = check(Store.open(store.path), thorough=thorough, report=report)
        return Repair(before, repaired, after)


def _repair(store: Store, findings: Findings, sources: Sources, report: Report) -> list[Repaired]:
    """Repair objects and refs."""
    refs = read_refs(store.path)
    repaired = _repair_packs(store, findings) if findings.deep else []
    if not findings.deep and not _concern_refs(findings.problems):
        return repaired
    report("searching for missing objects")
    reach = Reach.of(store.objects)
    unchecked = reach.look(refs.names)
    repaired += _restore_objects(store, reach, refs, unchecked, sources, findings.bad)
    orphans = find_orphans(store, reach, refs.names)
    # refs with missing objects have not been checked yet
    restored = {name: oid for name, oid in unchecked.items() if oid in reach.whole}
    problems = [*findings.problems, *RefChecker(store.objects).check(restored)]
    with ObjectWriter(store.objects) as writer:
        mending = Mending(store, writer, reach, orphans, dict(refs.names))
        mending.mend(refs, damage_of(refs, problems))
    _change_refs(store, refs, mending.after)
    repaired += mending.done
    if reach.broken:
        repaired += _take_out(store, reach)
    return repaired


def _concern_refs(problems: Iterable[Problem]) -> bool:
    kinds = {problem.kind for problem in problems if not problem.harmless}
    return not kinds.isdisjoint({"ref", "build", "run number"})


# objects


def _repair_packs(store: Store, findings: Findings) -> list[Repaired]:
    repaired = []
    for state in findings.packs:
        count = salvage_pack(store, state.name, findings.bad)
        what = f"{count} objects rescued; pack moved to damaged/"
        repaired.append(Repaired(f"objects/pack/{state.name}", what))
    store.objects.refresh()
    for path, oid, wrong in list(loose_objects(store.path)):
        if wrong or oid in findings.bad:
            set_aside(store, path)
            repaired.append(Repaired(oid.hex(), "moved to damaged/"))
    return repaired


def _restore_objects(
    store: Store,
    reach: Reach,
    refs: RawRefs,
    broken: dict[str, Oid],
    sources: Sources,
    bad: frozenset[Oid],
) -> list[Repaired]:
    """Restore missing objects until no more are found."""
    repaired: list[Repaired] = []
    while broken:
        restored = restore(store, reach, refs.names, sources, bad)
        if not restored:
            break
        repaired += [Repaired(oid.hex(), "restored") for oid in sorted(restored)]
        reach.add(restored)
        broken = reach.look(broken)
    return repaired


def _take_out(store: Store, reach: Reach) -> list[Repaired]:
    """Remove incomplete objects, and the caches of files on disk.

    A process that writes a lost object again must then write all of them.
    """
    leave_out(store, (oid for oid in reach.broken if oid in reach.have))
    for path in memories(store):
        path.unlink(missing_ok=True)
    return [Repaired("prov/", "caches of files on disk deleted")]


# refs


@dataclass(frozen=True, slots=True)
class RefChanges:
    """The changes to a store's refs."""

    deleted: tuple[str, ...]
    packed: dict[str, Oid] | None
    """The new content of packed-refs, if files of refs are unreadable."""
    updates: tuple[RefUpdate, ...]
    """Updates in one transaction after packed-refs is written."""


def ref_changes(refs: RawRefs, after: Mapping[str, Oid]) -> RefChanges:
    """Return the changes that turn refs into `after`."""
    now, packed = dict(refs.names), None
    if refs.broken or refs.packed_wrong:
        # git refuses to change refs while one is unreadable
        added = {name: oid for name, oid in after.items() if name not in refs.names}
        packed = {name: oid for name, oid in refs.packed.items() if name in refs.names} | added
        now |= added
    deletions = [RefUpdate(name, None, oid) for name, oid in now.items() if name not in after]
    changed = [(name, oid) for name, oid in after.items() if now.get(name) != oid]
    changes = [RefUpdate(name, oid, now.get(name)) for name, oid in changed]
    deleted = [name for name in (*refs.names, *refs.broken) if name not in after]
    return RefChanges(tuple(deleted), packed, (*deletions, *changes))


def _change_refs(store: Store, refs: RawRefs, after: Mapping[str, Oid]) -> None:
    changes = ref_changes(refs, after)
    if changes.deleted:
        names = (name.encode("utf-8", "backslashreplace").decode() for name in changes.deleted)
        Pruned(store).add([Deletion(name, b"", RULE) for name in names], time.time())
    if changes.packed is not None:
        write_packed(store.path, changes.packed)
        for name in refs.broken.keys() & refs.loose:
            (store.path / name).unlink(missing_ok=True)
    store.refs = type(store.refs)(store.path)
    if changes.updates:
        store.refs.update(*changes.updates)


# pools, caches and leftovers


def _repair_disk(store: Store, problems: Iterable[Problem]) -> list[Repaired]:
    repaired = []
    for problem in problems:
        path = store.path / problem.where
        if problem.kind == "leftover" and path.suffix == ".pack" and path.exists():
            count = salvage_pack(store, path.stem)
            what = f"{count} objects rescued; pack moved to damaged/"
            repaired.append(Repaired(problem.where, what))
        elif problem.kind in ("pool", "sysroot", "cache", "leftover"):
            if problem.kind == "pool":  # first, so that sysroots that link it are checked
                Pool(path.parent.parent, store.objects).advance()
            with contextlib.suppress(FileNotFoundError):
                remove_tree(path)
                repaired.append(Repaired(problem.where, "deleted"))
    store.objects.refresh()
    return repaired
