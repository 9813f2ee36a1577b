"""Repair damaged packs: what can be read goes into a new pack, the old one into `damaged/`.

The order makes a kill harmless. The old index is moved before the new pack gets its name, since a
pack that is damaged in its index alone has the same name again; a kill between two steps leaves a
pack without an index, from which the next repair takes what can be read.
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
    """Return the folder of what was taken out of a store, and make it."""
    folder = store.path / "damaged"
    folder.mkdir(exist_ok=True)
    return folder


def set_aside(store: Store, path: Path) -> Path:
    """Move a file of the store into `damaged/` and return its path there: with a number if the
    name is in use.
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
    """Put a new pack in the place of a damaged one; return how many objects could be read.

    The caller refreshes the store's objects when no other pack is damaged any more.
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
    """Move objects from all packs into a pack in `damaged/`; return how many packs were changed.

    A process that writes an object again, and finds it in the store, takes all that it names for
    whole.
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
