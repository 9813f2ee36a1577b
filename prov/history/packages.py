"""Recorded directories as what goes into a sysroot."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

from prov.errors import StoreError, SysrootError
from prov.history.names import find, last_run
from prov.history.show import show
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import UNSIGNED_MESSAGE
from prov.records.refs import OutputRef
from prov.sharing.admission import first_program
from prov.store.repository import Store
from prov.worktree.attributes import at_path
from prov.worktree.merge import Owned


def packages(store: Store, name: str) -> list[Owned]:
    """Return what a name stands for in a sysroot: of `recipe:task`, each folder that the task gives
    to others.

    Raises NameUnknown.
    """
    if not _is_task(name):
        return [Owned(name, find(store, name).pair)]
    output = find(store, f"{name}@output").pair
    facts = show(store, last_run(store, TaskKey(name))).facts
    if "outputdir" not in facts:  # recorded without a recipe: all of it
        return [Owned(name, output)]
    try:
        paths = shlex.split(facts["outputdir"])
    except ValueError as error:
        raise StoreError(
            f"the record of {name} is not what it should be: {error}", hint="don't trust its origin"
        ) from error
    nodes = [at_path(store.objects, output, os.fsencode(path)) for path in paths]
    return [Owned(name, node.pair) for node in nodes if node is not None]


def check_signed(store: Store, names: Iterable[str]) -> None:
    """Raise SysrootError for a task's output that came from a remote, unsigned, and has a
    program.
    """
    for name in filter(_is_task, names):
        run = last_run(store, TaskKey(name))
        commit = store.refs.get(str(OutputRef(run.key, TaskHash(bytes.fromhex(run.task_hash)))))
        held = store.objects.commit(commit) if commit is not None else None
        if held is None or held.message != UNSIGNED_MESSAGE:
            continue
        program = first_program(store.objects, OutputId(held.tree))
        if program:
            raise SysrootError(
                f"{name} came from a remote, unsigned, and has the program {program}, which may run"
                " without a sandbox",
                hint="install bubblewrap, or build it here",
            )


def _is_task(name: str) -> bool:
    return ":" in name and "@" not in name and "/" not in name.partition(":")[0]
