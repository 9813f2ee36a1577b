"""Dropping objects that no ref holds, and the lease that keeps them while somebody may still be
about to.

Who writes objects holds a *lease*, a shared lock on one file, for as long as its process lives: an
object that the store has is not written again, so that one which nothing holds yet may be about to
be. Sweeping takes the lock alone. It never waits for a build, and builds wait only while packs are
written anew.

Objects go with their packs. One in which nothing is held any more is deleted; of one with a part
that is, that part is copied, compressed as it is, into a new pack, and the old one is deleted when
that is durable.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.files import locked, sync_directory, try_locked
from prov.store.git import call_git, error_text, git_command
from prov.store.objects import EMPTY_TREE, Oid, decode_commit, decode_tree
from prov.store.odb import ObjectDatabase
from prov.store.packs import PackFile, PackStream

AGE_FLOOR = 3600.0
"""Seconds: younger packs are left alone, for those who write with git itself and know no lease."""
WORTH_COPYING = 0.05
"""Of a pack, the part that must be free before the rest is copied."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What went, or would go."""

    objects: int
    size: int
    """In bytes, as they were packed."""
    in_use: bool = False
    """Somebody is writing; nothing went."""


def reachable(git_dir: Path, roots: Iterable[Oid] | None = None) -> set[Oid]:
    """Return the ids of all objects that refs, or only these roots, hold.

    Raises StoreError where one is missing.
    """
    if roots is None:
        found = _rev_list(git_dir, ["--objects", "--no-object-names", "--all"], b"")
    else:
        data = _lines(roots)
        found = (
            _rev_list(git_dir, ["--objects", "--no-object-names", "--stdin"], data)
            if data
            else set()
        )
    found.add(EMPTY_TREE)
    return found


def ancestors(git_dir: Path, roots: Iterable[Oid]) -> set[Oid]:
    """Return the ids of the commits that some commits descend from, these among them.

    Raises StoreError.
    """
    data = _lines(roots)
    return _rev_list(git_dir, ["--stdin"], data) if data else set()


def _lines(oids: Iterable[Oid]) -> bytes:
    return "".join(f"{oid.hex()}\n" for oid in oids).encode()


def _rev_list(git_dir: Path, options: Sequence[str], data: bytes) -> set[Oid]:
    with git_command(git_dir) as command:
        result = call_git([*command, "rev-list", *options], data=data)
    if result.returncode:
        raise StoreError(
            f"{git_dir} is not whole: {error_text(result)}", hint="`prov fsck` tells what is wrong"
        )
    return {bytes.fromhex(line.decode()) for line in result.stdout.split(b"\n") if line}


def packed_sizes(objects: ObjectDatabase) -> dict[Oid, int]:
    """Return how many bytes each object takes in the packs."""
    found: dict[Oid, int] = {}
    for pack in objects.packs():
        found.update(pack.sizes())
    return found


def measure(objects: ObjectDatabase, held: set[Oid], *, now: float | None = None) -> Swept:
    """Return what would go if these were all objects that refs hold."""
    objects.refresh()
    held = set(held)
    gone: dict[Oid, int] = {}
    for pack in _worth_it(objects, held, WORTH_COPYING, _floor(now)):
        gone.update((oid, size) for oid, size in pack.sizes().items() if oid not in held)
    return Swept(len(gone), sum(gone.values()))


def sweep(objects: ObjectDatabase, *, now: float | None = None, thorough: bool = False) -> Swept:
    """Drop what no ref holds; return how much that was.

    Thorough: however young and however little it is.
    """
    # both locks: packs are joined without the lease
    with locked(objects.join_lock), try_locked(objects.lease) as alone:
        if not alone:
            return Swept(0, 0, in_use=True)
        # asked for with the lock: who wrote before is done, and has refs for what is to stay
        held = reachable(objects.git_dir)
        objects.refresh()
        chosen = _worth_it(
            objects, held, 0.0 if thorough else WORTH_COPYING, math.inf if thorough else _floor(now)
        )
        count = size = 0
        for pack in chosen:
            gone = {oid: each for oid, each in pack.sizes().items() if oid not in held}
            if gone:
                _drop(objects, pack, held)
                count, size = count + len(gone), size + sum(gone.values())
        if count:
            sync_directory(objects.folder)
        objects.refresh()
        return Swept(count, size)


def _worth_it(
    objects: ObjectDatabase, held: set[Oid], worth: float, floor: float
) -> list[PackFile]:
    """Return the packs of which enough is free, and add to `held` what has to stay because
    something else does.

    Whoever finds a tree in the store takes it that all below it is there, too. So what nothing
    holds and yet stays, in a pack that is young or of which too little is free, keeps what it
    names; a pack with such a thing of which something is missing already is written anew, if it may
    be.
    """
    candidates = _candidates(objects, floor)
    chosen = [pack for pack in candidates if _free(pack, held) >= worth * pack.path.stat().st_size]
    while True:
        staying = [pack for pack in objects.packs() if pack not in chosen]
        found: set[Oid] = set()
        broken = []
        for pack in staying:
            roots = [oid for oid in pack.sizes() if oid not in held]
            if not _name_all(objects, roots, held, found) and pack in candidates:
                broken.append(pack)
        if not broken:
            held |= found
            return chosen
        chosen += broken


def _free(pack: PackFile, held: set[Oid]) -> int:
    return sum(size for oid, size in pack.sizes().items() if oid not in held)


def _name_all(
    objects: ObjectDatabase, roots: Iterable[Oid], held: set[Oid], found: set[Oid]
) -> bool:
    """Add to `found` what is reached from roots and not held; tell whether all of it is there."""
    pending, whole = [oid for oid in roots if oid not in found], True
    while pending:
        oid = pending.pop()
        if oid in held or oid in found:
            continue
        if not objects.exists(oid):
            whole = False
            continue
        found.add(oid)
        kind, data = objects.read(oid)
        if kind == "tree":
            pending += [entry.oid for entry in decode_tree(data)]
        elif kind == "commit":
            commit = decode_commit(data)
            pending += [commit.tree, *commit.parents]
    return whole


def _floor(now: float | None) -> float:
    return (time.time() if now is None else now) - AGE_FLOOR


def _candidates(objects: ObjectDatabase, floor: float) -> list[PackFile]:
    found = []
    for pack in objects.packs():
        kept = any(pack.path.with_suffix(mark).exists() for mark in (".keep", ".promisor"))
        with contextlib.suppress(FileNotFoundError):
            if not kept and pack.path.stat().st_mtime < floor:
                found.append(pack)
    return found


def _drop(objects: ObjectDatabase, pack: PackFile, held: set[Oid]) -> None:
    stream = PackStream(objects.folder)
    try:
        for oid, crc, packed in pack.packed_entries() or ():
            if oid in held:
                stream.add_packed(oid, crc, packed)
        if pack.has_deltas():  # of git's making: what is held is written whole
            for oid in pack.sizes():
                if oid in held:
                    stream.add(oid, *objects.read(oid))
        kept = stream.finish()
    except BaseException:
        stream.abort()
        raise
    if pack.index_path != kept:
        # the index first: without it nobody looks for the pack
        pack.index_path.unlink(missing_ok=True)
        pack.path.unlink(missing_ok=True)
        for mark in (".rev", ".bitmap", ".mtimes"):
            pack.path.with_suffix(mark).unlink(missing_ok=True)
