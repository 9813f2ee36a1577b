"""Fetch the published records of other machines' runs when a query needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from prov.errors import Elsewhere
from prov.records import ids
from prov.records.keys import TaskKey
from prov.remote import settings
from prov.sharing import caches
from prov.store import repository
from prov.transport import access

from .output import note_all, remark

Answer = TypeVar("Answer")


def fetching(store: repository.Store, ask: Callable[[], Answer]) -> Answer:
    """Return the answer of a query; fetch missing results from remotes and repeat the query.

    Raises the query's error if no remote has the result.
    """
    requested: set[tuple[TaskKey, ids.TaskHash]] = set()
    while True:
        try:
            return ask()
        except Elsewhere as error:
            result = (TaskKey(error.key), ids.TaskHash(error.task_hash))
            remotes = settings.read_remotes(store)
            if result in requested or not remotes:
                raise
            requested.add(result)
            user = access.Access(dict(os.environ))
            fetched = caches.fetch_published(store, remotes, user, *result)
            note_all(fetched.notes)
            if not fetched.tasks:
                raise
            remark(f"fetched the published record of {error.key}")
