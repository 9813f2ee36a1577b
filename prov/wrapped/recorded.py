"""Read recorded runs of commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from prov.errors import FORGET_RUN, StoreError
from prov.records.entries import READS
from prov.records.keys import TaskKey
from prov.records.record import read_run_record
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.wrapped.step import CommandStep


def is_command(store: Store, commit: Oid) -> bool:
    """Return whether a run is of `prov run` or `prov capture`."""
    record = read_run_record(store.objects, commit)
    if record.task_hash is None or record.is_recipes:
        return False
    names = {entry.name for entry in store.objects.tree(record.task_hash)}
    return not names.isdisjoint((b"start", READS))


def recorded_command(store: Store, commit: Oid) -> list[str]:
    """Return the words of a run's command; empty for a capture. Raises StoreError."""
    task_hash = read_run_record(store.objects, commit).task_hash
    entry = store.objects.entry(task_hash, "command") if task_hash else None
    text = store.objects.blob(entry.oid).decode("utf-8", "surrogateescape") if entry else ""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise StoreError(
            f"invalid record: command {text[:200]!r}: {error}", hint=FORGET_RUN
        ) from error


def recorded_step(key: TaskKey, facts: Mapping[str, str]) -> CommandStep:
    """Return how a run was recorded, from the facts in its record. Raises StoreError."""
    try:
        outputs, exclude = (shlex.split(facts.get(name, "")) for name in ("outputdir", "exclude"))
    except ValueError as error:
        raise StoreError(
            f"invalid record of {key}: outputdir or exclude: {error}", hint=FORGET_RUN
        ) from error
    return CommandStep.parse(key, outputs=outputs, exclude=exclude, gitignore="gitignore" in facts)
