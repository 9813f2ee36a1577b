"""Checks of a store's remotes: whether they answer, and whether their keys can sign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prov.doctor.machine import Finding, State
from prov.errors import ProvError
from prov.remote.settings import Remote
from prov.remote.signature import sign
from prov.sharing.caches import Caches
from prov.store.repository import Store
from prov.transport.access import Access


def check_remotes(store: Store, remotes: Sequence[Remote], access: Access) -> Iterator[Finding]:
    """Check that each remote answers, and that its signing key works."""
    for remote in remotes:
        yield _check_reach(store, remote, access)
        if remote.push:
            yield _check_key(remote)


def _check_reach(store: Store, remote: Remote, access: Access) -> Finding:
    caches = Caches(store, [remote], access)
    caches.refresh()
    title = f"remote {remote.name}"
    if not caches.failed and not caches.notes:
        return Finding(title, State.OK, "answers")
    advice = f"check the address with `prov remote list`, or run `prov remote remove {remote.name}`"
    state = State.ERROR if caches.failed else State.WARNING
    return Finding(title, state, "; ".join(caches.notes), advice)


def _check_key(remote: Remote) -> Finding:
    title = f"remote {remote.name}"
    if not remote.key:
        advice = f"run `prov remote add {remote.name} {remote.url} --push --key FILE`"
        return Finding(title, State.WARNING, "publications are not signed", advice)
    try:
        sign(b"prov doctor\n", remote.key)
    except ProvError as error:
        return Finding(title, State.ERROR, str(error), error.hint)
    return Finding(title, State.OK, f"signs with {remote.key}")
