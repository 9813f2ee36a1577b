"""Publish the results of a build to its remotes in the background, without delaying the build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prov.bitbake.build_record import TaskRun
from prov.bitbake.capture import Packed
from prov.bitbake.equivalence import lines_of, record_lines
from prov.bitbake.shared_state import remotes_of
from prov.records.ids import StaticKey
from prov.sharing.pushing import publishing
from prov.sharing.results import Shareable
from prov.store.repository import Store
from prov.transport.access import Access


def publish(
    store: Store,
    ran: Sequence[TaskRun],
    packed: Mapping[str, Packed],
    environment: Mapping[str, str],
    note: Callable[[str], None],
    *,
    network: bool,
) -> None:
    """Start publishing the objects of shared state that a build made or restored.

    Without `network`, only remotes in local folders are used.
    """
    results = [
        Shareable(run.key, run.captured.task_hash, StaticKey(packed[run.key].key))
        for run in ran
        if run.key in packed and not run.failed
    ]
    lines = lines_of(ran)
    if lines:
        results.append(record_lines(store, lines))
    if not results:
        return
    with publishing(
        store, remotes_of(store, network=network), Access(environment), note
    ) as publishers:
        for publisher in publishers:
            publisher.whole = results
