"""Recorded directories as what goes into a sysroot."""

from __future__ import annotations

from prov.history.names import find
from prov.store.repository import Store
from prov.worktree.attributes import read_listing
from prov.worktree.merge import Owned


def packages(store: Store, name: str) -> list[Owned]:
    """Return what a name stands for in a sysroot: of `recipe:task`, each folder that the task gives to others.

    Raises NameUnknown.
    """
    if ":" not in name or "@" in name or "/" in name.partition(":")[0]:
        return [Owned(name, find(store, name).pair)]
    output = find(store, f"{name}@output").pair
    folders = [node for path, node in read_listing(store.objects, output).items() if path != b"." and node.is_directory]
    return [Owned(name, node.pair) for node in folders]
