"""A damaged store made whole: what can be found again is put back, and what hangs on the rest goes.

Objects first, then refs, each step durable before the next and of use by itself: whoever is killed
in between leaves a store that is no worse, and the next repair goes on. All of it is done with the
lease alone, so that nobody builds on an object that is about to go; what goes is noted in `pruned`
before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.files import remove_tree, replace_file, try_locked
from prov.fsck.check import Findings, Told, check, head_problem
from prov.fsck.disk import memories
from prov.fsck.findings import Problem
from prov.fsck.mend import Mending, Repaired
from prov.fsck.orphans import find_orphans
from prov.fsck.packs import leave_out, salvage_pack, set_aside
from prov.fsck.reach import Reach
from prov.fsck.refs import RefChecker
from prov.fsck.sources import Sources, restore
from prov.store.git import open_repository
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.rawrefs import RawRefs, read_refs, write_packed
from prov.store.refs import HEAD, RefUpdate
from prov.store.repository import Store
from prov.store.integrity import loose_objects
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
    """Write a store's HEAD anew where it is damaged; tell whether it was."""
    if head_problem(path) is None:
        return False
    replace_file(path / "HEAD", HEAD)
    open_repository(path)
    return True


def repair(
    store: Store, sources: Sources, *, thorough: bool = False, told: Told = lambda text: None
) -> Repair:
    """Look at a store, repair it, and look again.

    Raises StoreError while a build is running: nothing is done then.
    """
    with try_locked(store.objects.lease) as alone:
        if not alone:
            raise StoreError(
                f"a build is running in {store.path}: nothing is repaired meanwhile",
                hint="run the same again when it has ended",
            )
        before = check(store, thorough=thorough, told=told)
        if not before.problems:
            return Repair(before, [], before)
        done = [*_repair(store, before, sources, told), *_repair_disk(store, before.problems)]
        told("looking again")
        return Repair(before, done, check(Store.open(store.path), thorough=thorough, told=told))


def _repair(store: Store, findings: Findings, sources: Sources, told: Told) -> list[Repaired]:
    refs = read_refs(store.path)
    done = _repair_packs(store, findings) if findings.deep else []
    needs_refs = findings.deep or any(
        each.kind in ("ref", "build", "run number") and not each.harmless
        for each in findings.problems
    )
    if not needs_refs:
        return done
    told("looking for what is missing")
    reach = Reach.of(store.objects)
    broken = reach.look(refs.names)
    unseen = dict(broken)
    while broken:
        found = restore(store, reach, refs.names, sources, findings.bad)
        if not found:
            break
        done += [Repaired(oid.hex(), "was found elsewhere and put back") for oid in sorted(found)]
        reach.found(found)
        broken = reach.look(broken)
    orphans = find_orphans(store, reach, refs.names)
    with ObjectWriter(store.objects) as writer:
        mending = Mending(store, writer, reach, orphans, dict(refs.names))
        seen = {name: oid for name, oid in unseen.items() if name not in broken}
        mending.mend(refs, [*findings.problems, *RefChecker(store.objects).check(seen)])
    _change_refs(store, refs, mending.after)
    done += mending.done
    if reach.broken:
        done += _forget(store, reach)
    return done


# objects


def _repair_packs(store: Store, findings: Findings) -> list[Repaired]:
    done = []
    for state in findings.packs:
        count = salvage_pack(store, state.name, findings.bad)
        done.append(
            Repaired(
                f"objects/pack/{state.name}",
                f"{count} objects were read; the pack is in damaged/ now",
            )
        )
    store.objects.refresh()
    for path, oid, wrong in list(loose_objects(store.path)):
        if wrong or oid in findings.bad:
            set_aside(store, path)
            done.append(Repaired(oid.hex(), "is in damaged/ now"))
    return done


def _forget(store: Store, reach: Reach) -> list[Repaired]:
    """Take out what names something that is lost: who makes it again must write all of it.

    What is remembered of files on disk names such objects too.
    """
    leave_out(store, (oid for oid in reach.broken if oid in reach.have))
    for path in memories(store):
        path.unlink(missing_ok=True)
    return [Repaired("prov/", "what was remembered of files on disk was removed")]


# refs


def _change_refs(store: Store, refs: RawRefs, after: dict[str, Oid]) -> None:
    """Bring refs from what they are to what they are to be; a file that can't be read is replaced
    first.
    """
    gone = [name for name in (*refs.names, *refs.broken) if name not in after]
    _note(store, time.time(), gone)
    now = dict(refs.names)
    if refs.broken or refs.packed_wrong:
        again = {name: oid for name, oid in after.items() if name not in refs.names}
        write_packed(
            store.path, {**{n: oid for n, oid in refs.packed.items() if n in refs.names}, **again}
        )
        for name in refs.broken.keys() & refs.loose:
            (store.path / name).unlink(missing_ok=True)
        now |= again
    store.refs = type(store.refs)(store.path)
    updates = [RefUpdate(name, None, oid) for name, oid in now.items() if name not in after]
    updates += [
        RefUpdate(name, oid, now.get(name)) for name, oid in after.items() if now.get(name) != oid
    ]
    if updates:
        store.refs.update(*updates)


def _note(store: Store, now: float, names: Iterable[str]) -> None:
    gone = [Deletion(name.encode("utf-8", "backslashreplace").decode(), b"", RULE) for name in names]
    if gone:
        Pruned(store).add(gone, now)


# what can be made again


def _repair_disk(store: Store, problems: Iterable[Problem]) -> list[Repaired]:
    done = []
    for problem in problems:
        path = store.path / problem.where
        if problem.kind == "leftover" and path.suffix == ".pack" and path.exists():
            count = salvage_pack(store, path.stem)
            done.append(
                Repaired(problem.where, f"{count} objects were read; the pack is in damaged/ now")
            )
        elif problem.kind in ("pool", "sysroot", "cache", "leftover"):
            if problem.kind == "pool":  # first: who linked it before must look
                Pool(path.parent.parent, store.objects).advance()
            with contextlib.suppress(FileNotFoundError):
                remove_tree(path)
                done.append(Repaired(problem.where, "was removed"))
    store.objects.refresh()
    return done
