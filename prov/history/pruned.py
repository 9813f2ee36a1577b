"""What is not here any more: when it went, and by which rule."""

from __future__ import annotations

from datetime import UTC, datetime

from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import RECORDS, OutputRef, RunRef
from prov.store.repository import Store
from prov.upkeep.retention import Pruned


def when_it_went(store: Store, *refs: str) -> str:
    """Return a sentence that tells when the first of these refs went that did, or nothing."""
    for ref in refs:
        found = Pruned(store).find(ref)
        if found is not None:
            when = datetime.fromtimestamp(found[0], UTC).astimezone().strftime("%Y-%m-%d %H:%M")
            return f"`prov gc` dropped it on {when}, by rule {found[1]}"
    return ""


def run_went(store: Store, key: TaskKey, task_hash: TaskHash, number: int) -> str:
    """Return when a run went, and where its record is if that stayed; nothing if it did not go."""
    tag = f"{RunRef(key, task_hash, 1).prefix}/{number}"
    text = when_it_went(store, tag, f"{RunRef(key, task_hash, 1, True).prefix}/{number}")
    record = RECORDS + tag.removeprefix("refs/tags/")
    return f"{text}; its record is {record}" if text and store.refs.get(record) else text


def inputs_went(store: Store, key: TaskKey, task_hash: TaskHash) -> str:
    """Return when what a task was made from went; nothing if it did not go."""
    return when_it_went(
        store, str(OutputRef(key, task_hash)), f"{RunRef(key, task_hash, 1).prefix}/1"
    )
