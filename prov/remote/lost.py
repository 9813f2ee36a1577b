"""Fetch single objects by id from remotes, to repair a damaged store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from prov.errors import ProvError
from prov.intake.source import Content, Source
from prov.remote.opening import AnyRemote, open_remote
from prov.remote.settings import Remote
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.transport.access import Access


@contextmanager
def lost_objects(store: Store, remotes: Sequence[Remote], access: Access) -> Iterator[Source]:
    """Yield a source that asks remotes one by one, and drops a remote that fails."""
    with ExitStack() as stack:
        yield _Asker(stack, [open_remote(remote, store, access) for remote in remotes]).read


@dataclass(slots=True)
class _Asker:
    stack: ExitStack
    remotes: list[AnyRemote]
    sources: list[Source] = field(default_factory=list)
    """Content fetched so far; a fetched tree includes everything below it."""

    def read(self, oid: Oid) -> Content | None:
        for source in self.sources:
            content = source(oid)
            if content is not None:
                return content
        for remote in list(self.remotes):
            try:
                source = self.stack.enter_context(remote.objects([oid], [], without_store=True))
                content = source(oid)
            except ProvError as error:
                if "not our ref" not in str(error):  # it lacks this object, but may have others
                    self.remotes.remove(remote)
                continue
            if content is not None:
                self.sources.append(source)
                return content
        return None
