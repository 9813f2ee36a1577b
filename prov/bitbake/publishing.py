"""What a build made goes to the remotes that builds publish to, in the background: the build does
not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prov.bitbake.builds import Ran
from prov.bitbake.capture import Packed
from prov.bitbake.equivalence import lines_of, record_lines
from prov.bitbake.shared import remotes_of
from prov.records.ids import StaticKey
from prov.sharing.pushing import publishing
from prov.sharing.results import Shareable
from prov.store.repository import Store
from prov.transport.access import Access


def publish(
    store: Store,
    ran: Sequence[Ran],
    packed: Mapping[str, Packed],
    environment: Mapping[str, str],
    note: Callable[[str], None],
    *,
    network: bool,
) -> None:
    """Start publishing the objects of shared state that a build made or took; to folders alone
    without the network.
    """
    results = [
        Shareable(each.key, each.captured.task_hash, StaticKey(packed[each.key].key))
        for each in ran
        if each.key in packed and not each.failed
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
