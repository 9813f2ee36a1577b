"""Repair a damaged store: restore what is found elsewhere, and drop what depends on the rest.

Objects first, then refs, each step durable before the next and of use by itself: a kill in between
leaves a store that is no worse, and the next repair goes on. The repair holds the lease
exclusively, so that no build uses an object that is about to be deleted; deleted refs are noted in
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
from prov.store.git import open_repository
from prov.store.integrity import loose_objects
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
    """What was wrong, what was done, and what is still wrong."""

    before: Findings
    done: list[Repaired]
    after: Findings


def repair_head(path: Path) -> bool:
    """Write a store's HEAD again if it is damaged; return whether it was."""
    if head_problem(path) is None:
        return False
    replace_file(path / "HEAD", HEAD)
    open_repository(path)
    return True


def repair(
    store: Store, sources: Sources, *, thorough: bool = False, report: Report = lambda text: None
) -> Repair:
    """Check a store, repair it, and check it again.

    Raises StoreError while a build is running, and then changes nothing.
    """
    with try_locked(store.objects.lease) as alone:
        if not alone:
            raise StoreError(
                f"a build is running in {store.path}: nothing is repaired meanwhile",
                hint="run the same again when it has ended",
            )
        before = check(store, thorough=thorough, report=report)
        if not before.problems:
            return Repair(before, [], before)
        repaired = _repair(store, before, sources, report)
        repaired += _repair_disk(store, before.problems)
        report("looking again")
        after = check(Store.open(store.path), thorough=thorough, report=report)
        return Repair(before, repaired, after)


def _repair(store: Store, findings: Findings, sources: Sources, report: Report) -> list[Repaired]:
    """Repair objects and refs."""
    refs = read_refs(store.path)
    repaired = _repair_packs(store, findings) if findings.deep else []
    if not findings.deep and not _concern_refs(findings.problems):
        return repaired
    report("looking for what is missing")
    reach = Reach.of(store.objects)
    unchecked = reach.look(refs.names)
    repaired += _restore_objects(store, reach, refs, unchecked, sources, findings.bad)
    orphans = find_orphans(store, reach, refs.names)
    # refs below which something was missing have not been checked yet
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
        what = f"{count} objects were read; the pack is in damaged/ now"
        repaired.append(Repaired(f"objects/pack/{state.name}", what))
    store.objects.refresh()
    for path, oid, wrong in list(loose_objects(store.path)):
        if wrong or oid in findings.bad:
            set_aside(store, path)
            repaired.append(Repaired(oid.hex(), "is in damaged/ now"))
    return repaired


def _restore_objects(
    store: Store,
    reach: Reach,
    refs: RawRefs,
    broken: dict[str, Oid],
    sources: Sources,
    bad: frozenset[Oid],
) -> list[Repaired]:
    """Restore missing objects, until nothing more is found."""
    repaired: list[Repaired] = []
    while broken:
        restored = restore(store, reach, refs.names, sources, bad)
        if not restored:
            break
        what = "was found elsewhere and put back"
        repaired += [Repaired(oid.hex(), what) for oid in sorted(restored)]
        reach.add(restored)
        broken = reach.look(broken)
    return repaired


def _take_out(store: Store, reach: Reach) -> list[Repaired]:
    """Remove objects that name a lost one, and caches of what files on disk are: a process that
    writes the lost object again must write all of them.
    """
    leave_out(store, (oid for oid in reach.broken if oid in reach.have))
    for path in memories(store):
        path.unlink(missing_ok=True)
    return [Repaired("prov/", "what was remembered of files on disk was removed")]


# refs


@dataclass(frozen=True, slots=True)
class RefChanges:
    """How the refs of a store become others."""

    deleted: tuple[str, ...]
    packed: dict[str, Oid] | None
    """The new content of packed-refs, if files of refs cannot be read."""
    updates: tuple[RefUpdate, ...]
    """What is done in a transaction after that."""


def ref_changes(refs: RawRefs, after: Mapping[str, Oid]) -> RefChanges:
    """Return how to bring refs from what they are to `after`."""
    now, packed = dict(refs.names), None
    if refs.broken or refs.packed_wrong:
        # git changes no refs while it cannot read one
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


# what can be made again


def _repair_disk(store: Store, problems: Iterable[Problem]) -> list[Repaired]:
    repaired = []
    for problem in problems:
        path = store.path / problem.where
        if problem.kind == "leftover" and path.suffix == ".pack" and path.exists():
            count = salvage_pack(store, path.stem)
            what = f"{count} objects were read; the pack is in damaged/ now"
            repaired.append(Repaired(problem.where, what))
        elif problem.kind in ("pool", "sysroot", "cache", "leftover"):
            if problem.kind == "pool":  # first: sysroots that have linked it must be checked
                Pool(path.parent.parent, store.objects).advance()
            with contextlib.suppress(FileNotFoundError):
                remove_tree(path)
                repaired.append(Repaired(problem.where, "was removed"))
    store.objects.refresh()
    return repaired
