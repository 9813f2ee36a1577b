"""Pushes to a folder with locks of a killed push."""

from __future__ import annotations

import pytest

from tests.remote.conftest import Machines
from tests.remote.story import Cache
from tests.transport.test_locks import leave

pytestmark = pytest.mark.process

LOCKS = (
    "packed-refs.lock",
    "packed-refs.new",
    "HEAD.lock",
    "config.lock",
    "shallow.lock",
    "refs/heads/prov/index.lock",
    "refs/heads/prov/content.lock",
)


@pytest.mark.parametrize("name", LOCKS)
def test_a_stale_lock_does_not_block_pushes(
    name: str, folder_cache: Cache, machines: Machines
) -> None:
    one = machines("one", folder_cache, built=True)
    one.prov("push")
    one.change("second")
    one.build("--offline")
    lock = leave(folder_cache.path, name)
    assert one.ask("push").startswith("team: 5 results published")
    assert one.ask("remote", "gc", "team", "--days", "0", "--builds", "0").startswith(
        "5 results deleted"
    )
    assert not lock.exists()
    folder_cache.is_clean()
