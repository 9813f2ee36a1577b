"""Repair damaged packs: write the readable objects to a new pack, and keep the old in `damaged/`.

A kill at any point is harmless. The old index is moved before the new pack gets its name, because a
pack with only a damaged index gets the same name again. A kill between two steps leaves a pack
without an index, and the next repair reads that pack.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prov.files import sync_directory
from prov.store.integrity import salvage
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.packs import PackFile, PackStream
from prov.store.repository import Store

BESIDE = (".rev", ".bitmap", ".mtimes", ".keep", ".promisor")


def damaged_folder(store: Store) -> Path:
    """Create and return the folder for damaged files of a store."""
    folder = store.path / "damaged"
    folder.mkdir(exist_ok=True)
    return folder


def set_aside(store: Store, path: Path) -> Path:
    """Move a file of the store to `damaged/` and return its new path.

    The name gets a number if it is in use.
    """
    folder = damaged_folder(store)
    target, number = folder / path.name, 1
    while target.exists():
        target, number = folder / f"{path.name}.{number}", number + 1
    os.rename(path, target)
    sync_directory(folder)
    sync_directory(path.parent)
    return target


def salvage_pack(store: Store, name: str, leave_out: frozenset[Oid] = frozenset()) -> int:
    """Replace a damaged pack, and return the number of readable objects.

    The caller refreshes the store's objects after the last damaged pack.
    """
    folder = store.objects.folder
    pack, index = folder / f"{name}.pack", folder / f"{name}.idx"
    stream = PackStream(folder)
    try:
        count = salvage(pack, stream, leave_out=leave_out) if pack.exists() else 0
        for path in (index, *(index.with_suffix(suffix) for suffix in BESIDE)):
            if path.exists():
                set_aside(store, path)
        new_index = stream.finish()
    except BaseException:
        stream.abort()
        raise
    if pack.exists() and new_index != index:
        set_aside(store, pack)
    return count


def leave_out(store: Store, oids: Iterable[Oid]) -> int:
    """Move objects from all packs to a pack in `damaged/`; return the number of changed packs.

    An incomplete object must not stay in the store: a process that finds it there assumes that all
    objects below it exist.
    """
    going, changed = set(oids), 0
    store.objects.refresh()
    for pack in store.objects.packs():
        if any(pack.find(oid) >= 0 for oid in going):
            _without(store, pack, going)
            changed += 1
    for oid in going:
        path = store.path / "objects" / oid.hex()[:2] / oid.hex()[2:]
        if path.exists():
            set_aside(store, path)
    store.objects.refresh()
    return changed


def _without(store: Store, pack: PackFile, going: set[Oid]) -> None:
    stays, goes = PackStream(store.objects.folder), PackStream(damaged_folder(store))
    try:
        entries = pack.packed_entries()
        if entries is not None:
            for oid, crc, packed in entries:
                (goes if oid in going else stays).add_packed(oid, crc, packed)
        else:  # a pack that git wrote
            _add_whole(store.objects, pack, going, stays, goes)
        goes.finish()
        new_index = stays.finish()
    except BaseException:
        stays.abort()
        goes.abort()
        raise
    if pack.index_path != new_index:
        pack.index_path.unlink(missing_ok=True)
        for suffix in (".pack", *BESIDE):
            pack.path.with_suffix(suffix).unlink(missing_ok=True)


def _add_whole(
    objects: ObjectDatabase, pack: PackFile, going: set[Oid], stays: PackStream, goes: PackStream
) -> None:
    for oid in pack.sizes():
        (goes if oid in going else stays).add(oid, *objects.read(oid))
