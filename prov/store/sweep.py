"""Delete unreachable objects, unless a process may be about to reference them.

Every process that writes objects holds a *lease*, a shared lock on one file, until it exits. prov
does not write an object again that the store already has, so a process can be about to set a ref
to an object that is unreachable now. Only a process that holds the lock exclusively deletes
objects. It never waits for a build, and builds wait only while packs are rewritten.

Objects are deleted with their packs. A pack without reachable objects is deleted. From any other
pack, the reachable objects are copied to a new pack without recompression, and the old pack is
deleted when the new one is durable.
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
from prov.progress import counted, report
from prov.store.git import call_git, error_text, git_command
from prov.store.joining import delete_packs, write_by_git
from prov.store.objects import EMPTY_TREE, Oid, decode_commit, decode_tree
from prov.store.odb import ObjectDatabase
from prov.store.packs import PackFile, PackStream

AGE_FLOOR = 3600.0
"""Seconds for which a new pack is kept: git itself writes objects without a lease."""
WORTH_COPYING = 0.05
"""The minimum unreachable share of a pack for which its other objects are copied."""


@dataclass(frozen=True, slots=True)
class Swept:
    """The deleted objects, or those that a sweep would delete."""

    objects: int
    size: int
    """Packed size in bytes."""
    in_use: bool = False
    """True if nothing was deleted because another process is writing."""


def reachable(git_dir: Path, roots: Iterable[Oid] | None = None) -> set[Oid]:
    """Return the ids of all objects reachable from `roots`, or from all refs by default.

    Raises StoreError if an object is missing.
    """
    if roots is None:
        oids = _rev_list(git_dir, ["--objects", "--no-object-names", "--all"], b"")
    else:
        data = _lines(roots)
        oids = (
            _rev_list(git_dir, ["--objects", "--no-object-names", "--stdin"], data)
            if data
            else set()
        )
    oids.add(EMPTY_TREE)
    return oids


def ancestors(git_dir: Path, roots: Iterable[Oid]) -> set[Oid]:
    """Return the ids of some commits and all their ancestors. Raises StoreError."""
    data = _lines(roots)
    return _rev_list(git_dir, ["--stdin"], data) if data else set()


def _lines(oids: Iterable[Oid]) -> bytes:
    return "".join(f"{oid.hex()}\n" for oid in oids).encode()


def _rev_list(git_dir: Path, options: Sequence[str], data: bytes) -> set[Oid]:
    with git_command(git_dir) as command:
        result = call_git([*command, "rev-list", *options], data=data)
    if result.returncode:
        raise StoreError(
            f"{git_dir} is damaged: {error_text(result)}", hint="run `prov fsck` to list the damage"
        )
    return {bytes.fromhex(line.decode()) for line in result.stdout.split(b"\n") if line}


def packed_sizes(objects: ObjectDatabase) -> dict[Oid, int]:
    """Return the packed size of each object in bytes."""
    sizes: dict[Oid, int] = {}
    for pack in objects.packs():
        sizes.update(pack.sizes())
    return sizes


def measure(objects: ObjectDatabase, retained: set[Oid], *, now: float | None = None) -> Swept:
    """Return what a sweep would delete if `retained` were the reachable objects."""
    objects.refresh()
    retained = set(retained)
    dropped: dict[Oid, int] = {}
    for pack in _worth_it(objects, retained, WORTH_COPYING, _floor(now)):
        dropped.update((oid, size) for oid, size in pack.sizes().items() if oid not in retained)
    return Swept(len(dropped), sum(dropped.values()))


def sweep(objects: ObjectDatabase, *, now: float | None = None, thorough: bool = False) -> Swept:
    """Delete unreachable objects; return their number and size.

    With `thorough`, ignore `AGE_FLOOR` and `WORTH_COPYING`.
    """
    # both locks, since joining packs needs no lease
    with locked(objects.join_lock), try_locked(objects.lease) as exclusive:
        if not exclusive:
            return Swept(0, 0, in_use=True)
        # after locking, when every earlier writer has set its refs
        report("searching for unreachable objects", 0)
        retained = reachable(objects.git_dir)
        objects.refresh()
        selected = _worth_it(
            objects,
            retained,
            0.0 if thorough else WORTH_COPYING,
            math.inf if thorough else _floor(now),
        )
        count = size = 0
        for pack in counted(selected, "rewriting packs", every=1):
            dropped = {oid: length for oid, length in pack.sizes().items() if oid not in retained}
            if dropped:
                _drop(objects, pack, retained)
                count, size = count + len(dropped), size + sum(dropped.values())
        if count:
            sync_directory(objects.folder)
        objects.refresh()
        return Swept(count, size)


def _worth_it(
    objects: ObjectDatabase, retained: set[Oid], worth: float, floor: float
) -> list[PackFile]:
    """Return the packs to rewrite; add to `retained` the objects that remaining ones reference.

    Writers assume that a stored tree is complete. So an unreachable object that stays, in a pack
    that is too new or has too little to delete, retains the objects it references. A pack with such
    an object that is already incomplete is rewritten too, unless it is too new or marked.
    """
    candidates = _candidates(objects, floor)
    selected = [
        pack for pack in candidates if _free(pack, retained) >= worth * pack.path.stat().st_size
    ]
    while True:
        staying = [pack for pack in objects.packs() if pack not in selected]
        named: set[Oid] = set()
        broken = []
        for pack in staying:
            roots = [oid for oid in pack.sizes() if oid not in retained]
            if not _name_all(objects, roots, retained, named) and pack in candidates:
                broken.append(pack)
        if not broken:
            retained |= named
            return selected
        selected += broken


def _free(pack: PackFile, retained: set[Oid]) -> int:
    return sum(size for oid, size in pack.sizes().items() if oid not in retained)


def _name_all(
    objects: ObjectDatabase, roots: Iterable[Oid], retained: set[Oid], named: set[Oid]
) -> bool:
    """Add to `named` the objects reachable from `roots` but not retained.

    Returns whether all of them exist.
    """
    pending, whole = [oid for oid in roots if oid not in named], True
    while pending:
        oid = pending.pop()
        if oid in retained or oid in named:
            continue
        if not objects.exists(oid):
            whole = False
            continue
        named.add(oid)
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
    candidates = []
    for pack in objects.packs():
        is_marked = any(pack.path.with_suffix(mark).exists() for mark in (".keep", ".promisor"))
        with contextlib.suppress(FileNotFoundError):
            if not is_marked and pack.path.stat().st_mtime < floor:
                candidates.append(pack)
    return candidates


def _drop(objects: ObjectDatabase, pack: PackFile, retained: set[Oid]) -> None:
    """Replace a pack by one without the objects that are not retained."""
    entries = pack.packed_entries()
    if entries is None:  # git copies the deltas, and finds new bases where they are deleted
        staying = [oid for oid in pack.sizes() if oid in retained]
        new_index = write_by_git(objects, staying) if staying else None
    else:
        stream = PackStream(objects.folder)
        try:
            for oid, crc, packed in entries:
                if oid in retained:
                    stream.add_packed(oid, crc, packed)
            new_index = stream.finish()
        except BaseException:
            stream.abort()
            raise
    delete_packs([pack], {new_index})
