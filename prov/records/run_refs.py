"""Update the refs of a run: its tag, and the refs that mark its output as a result."""

from __future__ import annotations

from collections.abc import Sequence

from prov.records.ids import StaticKey
from prov.records.lookup import new_run
from prov.records.refs import OutputRef, StaticRef
from prov.records.run import Run, RunIds
from prov.store.refs import RefUpdate
from prov.store.repository import Store


def run_tag(store: Store, run: Run, recorded: RunIds) -> RefUpdate:
    """Return the ref update that creates the tag of a new run."""
    return new_run(store, run.key, run.task_hash, recorded.commit, failed=run.output is None)


def result_refs(run: Run, recorded: RunIds, static_key: StaticKey | None) -> Sequence[RefUpdate]:
    """Return the updates that make a run's output the result of its task hash.

    With `static_key`, it also becomes the result of that key.
    """
    updates = []
    if static_key is not None:
        static = StaticRef(run.key, static_key)
        updates.append(RefUpdate(str(static), recorded.output_commit))
    # last, because refs are updated one by one and this one marks the task as up to date
    output = OutputRef(run.key, run.task_hash)
    return [*updates, RefUpdate(str(output), recorded.output_commit)]
