"""One machine publishes and others fetch, whatever serves the cache: what is needed, and of that what is new."""

from __future__ import annotations

from tests.remote.conftest import Machines
from tests.remote.story import TASKS, Cache


def test_what_one_publishes_others_fetch(cache: Cache, machines: Machines) -> None:
    """Nothing runs, and of all outputs only the one that is asked for comes over."""
    one, other = machines("one", cache, built=True), machines("other", cache)
    assert one.ask("push") == "team: 5 results published in 1 push; 0 were there\n"
    assert cache.keys() == sorted(TASKS)
    moved = cache.moved()
    assert other.build() == "1 fetched"
    whole = cache.moved() - moved
    assert other.outputs() == {"app:pack"}
    assert other.deployed() == one.wanted()

    had = other.objects()
    one.change("new")
    other.change("new")
    assert one.build() == "5 ran"
    moved = cache.moved()
    assert one.ask("push") == "team: 5 results published in 1 push; 0 were there\n"
    pushed = cache.moved() - moved
    moved = cache.moved()
    assert other.build() == "1 fetched"
    assert other.deployed() == one.wanted()
    fetched = cache.moved() - moved
    if cache.line:
        print(f"{cache.line.connections} connections")
    print(f"first {whole}, pushed {pushed}, then {fetched} bytes and {len(other.objects() - had)} objects")
    assert len(other.objects() - had) < 40
    for machine in (one, other):
        machine.is_clean()
    cache.is_clean()
    assert one.ask("push") == "team: 0 results published in 0 pushes; 5 were there\n"
