"""Find when `prov gc` deleted a ref, and by which rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import OutputRef, RunRef
from prov.store.repository import Store
from prov.upkeep.pruned import Pruned


def when_collected(store: Store, *refs: str) -> str:
    """Return when and by which rule `prov gc` deleted the first deleted one of some refs.

    Returns an empty text if it deleted none of them.
    """
    pruned = Pruned(store)
    for ref in refs:
        event = pruned.find(ref)
        if event is not None:
            seconds, rule = event
            when = datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
            return f"`prov gc` deleted it on {when} by rule {rule}"
    return ""


def run_collected(store: Store, run: RunRef) -> str:
    """Return when a run was deleted, and the ref of its record if that remains.

    Returns an empty text if the run was not deleted.
    """
    tags = (replace(run, failed=False), replace(run, failed=True))
    text = when_collected(store, *map(str, tags))
    if text and store.refs.get(str(run.record)):
        return f"{text}; its record remains at {run.record}"
    return text


def inputs_collected(store: Store, key: TaskKey, task_hash: TaskHash) -> str:
    """Return when the inputs of a task were deleted, an empty text if they were not."""
    refs = (OutputRef(key, task_hash), RunRef(key, task_hash, 1))
    return when_collected(store, *map(str, refs))
