"""Recorded directories as what goes into a sysroot."""

from __future__ import annotations

import os
import shlex

from prov.history.names import find, last_run
from prov.history.show import show
from prov.store.repository import Store
from prov.worktree.attributes import at_path
from prov.worktree.merge import Owned


def packages(store: Store, name: str) -> list[Owned]:
    """Return what a name stands for in a sysroot: of `recipe:task`, each folder that the task gives to others.

    Raises NameUnknown.
    """
    if ":" not in name or "@" in name or "/" in name.partition(":")[0]:
        return [Owned(name, find(store, name).pair)]
    output = find(store, f"{name}@output").pair
    facts = show(store, last_run(store, name)).facts
    if "outputdir" not in facts:  # recorded without a recipe: all of it
        return [Owned(name, output)]
    paths = shlex.split(facts["outputdir"])
    nodes = [at_path(store.objects, output, os.fsencode(path)) for path in paths]
    return [Owned(name, node.pair) for node in nodes if node is not None]
