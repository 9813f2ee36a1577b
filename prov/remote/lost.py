"""Asking remotes for single objects by their ids: what a damaged store has lost."""

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
    """Yield a source that asks remotes one by one; one that does not answer is not asked again."""
    with ExitStack() as stack:
        yield _Asker(stack, [open_remote(remote, store, access) for remote in remotes]).read


@dataclass(slots=True)
class _Asker:
    stack: ExitStack
    remotes: list[AnyRemote]
    sources: list[Source] = field(default_factory=list)
    """What was fetched so far: with a tree comes all that it holds."""

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
                if "not our ref" not in str(error):  # it lacks this one, and may have another
                    self.remotes.remove(remote)
                continue
            if content is not None:
                self.sources.append(source)
                return content
        return None
