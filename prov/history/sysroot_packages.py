"""Read recorded directories as packages of a sysroot."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

from prov.errors import FORGET_RUN, StoreError, SysrootError
from prov.history.directories import find_directory
from prov.history.names import find_run, last_run
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import UNSIGNED_MESSAGE, read_pair
from prov.records.record import read_run_record
from prov.records.refs import OutputRef
from prov.sharing.admission import first_program
from prov.store.repository import Store
from prov.worktree.attributes import at_path
from prov.worktree.merge import Owned


def packages(store: Store, name: str) -> list[Owned]:
    """Return the directories that a name contributes to a sysroot.

    For `recipe:task` these are the task's output folders. Raises NameUnknown.
    """
    if not _is_task(name):
        return [Owned(name, find_directory(store, name).pair)]
    record = read_run_record(store.objects, find_run(store, name).commit)
    if record.output is None:  # a failed run
        return [Owned(name, find_directory(store, f"{name}@output").pair)]
    output = read_pair(store.objects, record.output)
    facts = record.facts(store.objects)
    if "outputdir" not in facts:  # recorded without a recipe: use the whole output
        return [Owned(name, output)]
    try:
        paths = shlex.split(facts["outputdir"])
    except ValueError as error:
        raise StoreError(
            f"the record of {name} has an invalid outputdir: {error}",
            hint=FORGET_RUN,
        ) from error
    nodes = [at_path(store.objects, output, os.fsencode(path)) for path in paths]
    return [Owned(name, node.pair) for node in nodes if node is not None]


def check_signed(store: Store, names: Iterable[str]) -> None:
    """Raise SysrootError if an unsigned output from a remote contains a program."""
    for name in filter(_is_task, names):
        run = last_run(store, TaskKey(name))
        oid = store.refs.get(str(OutputRef(run.key, run.task_hash)))
        commit = store.objects.commit(oid) if oid is not None else None
        if commit is None or commit.message != UNSIGNED_MESSAGE:
            continue
        program = first_program(store.objects, OutputId(commit.tree))
        if program:
            raise SysrootError(
                f"{name}: unsigned output from a remote contains the program {program}, which may"
                " run without a sandbox",
                hint="install bubblewrap, or build the task on this machine",
            )


def _is_task(name: str) -> bool:
    """Return whether a name is a plain `recipe:task`, without a build or a part."""
    return ":" in name and "@" not in name and "/" not in TaskKey(name).recipe
