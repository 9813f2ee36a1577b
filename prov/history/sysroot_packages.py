"""Read recorded directories as packages of a sysroot."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from prov.errors import FORGET_RUN, StoreError
from prov.history.directories import find_directory
from prov.history.names import RunName, find_run
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import UNSIGNED_MESSAGE, read_pair
from prov.records.record import read_run_record
from prov.records.refs import OutputRef
from prov.store.repository import Store
from prov.worktree.attributes import at_path
from prov.worktree.merge import Owned


class Contribution(NamedTuple):
    """The directories that a name contributes to a sysroot."""

    packages: list[Owned]
    unsigned: OutputId | None = None
    """The task's output, if it was fetched from a remote without a signature."""


def contribution(store: Store, name: str) -> Contribution:
    """Return the directories that a name contributes to a sysroot.

    For `recipe:task` these are the task's output folders. Raises NameUnknown.
    """
    if not _is_task(name):
        return Contribution([Owned(name, find_directory(store, name).pair)])
    run = find_run(store, name)
    unsigned = _unsigned_output(store, run)
    record = read_run_record(store.objects, run.commit)
    if record.result is None:  # a failed run
        return Contribution([Owned(name, find_directory(store, f"{name}@output").pair)])
    output = read_pair(store.objects, record.result)
    facts = record.facts(store.objects)
    if "outputdir" not in facts:  # recorded without a recipe: use the whole output
        return Contribution([Owned(name, output)], unsigned)
    try:
        paths = shlex.split(facts["outputdir"])
    except ValueError as error:
        raise StoreError(
            f"the record of {name} has an invalid outputdir: {error}",
            hint=FORGET_RUN,
        ) from error
    nodes = [at_path(store.objects, output, os.fsencode(path)) for path in paths]
    return Contribution([Owned(name, node.pair) for node in nodes if node is not None], unsigned)


def _unsigned_output(store: Store, run: RunName) -> OutputId | None:
    """Return a run's output if it was fetched from a remote without a signature."""
    oid = store.refs.get(str(OutputRef(run.key, run.task_hash)))
    commit = store.objects.commit(oid) if oid is not None else None
    if commit is None or commit.message != UNSIGNED_MESSAGE:
        return None
    return OutputId(commit.tree)


def _is_task(name: str) -> bool:
    """Return whether a name is a plain `recipe:task`, without a build or a part."""
    return ":" in name and "@" not in name and "/" not in TaskKey(name).recipe
