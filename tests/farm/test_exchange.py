"""The repository where orders wait and results arrive."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prov.farm.exchange import (
    LEFT_AFTER,
    Exchange,
    KeptOrders,
    abandoned_exchanges,
    open_exchange,
)
from prov.records.ids import CommitId
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit
from prov.store.refs import RefUpdate
from prov.store.repository import Store


def commit(store: Store, text: str) -> CommitId:
    with store.objects.writer() as writer:
        writer.add_tree([])
        return CommitId(writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, f"{text}\n")))


def test_orders_and_results(store: Store) -> None:
    one, two, result = (commit(store, text) for text in ("one", "two", "result"))
    with open_exchange(store) as exchange:
        exchange.offer(one)
        exchange.offer(two)
        assert exchange.results() == {}
        exchange.refs.update(RefUpdate(f"refs/incoming/{one.hex()}", result))
        exchange.refs.update(RefUpdate("refs/incoming/nonsense", result))
        assert exchange.results() == {one: result}
        assert exchange.waits()
        exchange.withdraw([one, two])
        exchange.withdraw([one])
        assert exchange.results() == {}
        assert not exchange.waits()
    assert not exchange.folder.exists()


def left_exchange(store: Store, *orders: CommitId) -> Exchange:
    """Return an exchange as a killed build leaves it."""
    with open_exchange(store) as exchange:
        for order in orders:
            exchange.offer(order)
        away = exchange.folder.rename(store.path.parent / "away")
        exchange.folder.mkdir()
    away.rename(exchange.folder)
    exchange.folder.with_suffix(".lock").touch()
    return exchange


def test_exchanges_of_killed_builds_wait_for_a_day(store: Store) -> None:
    waiting = left_exchange(store, commit(store, "one"))
    empty = left_exchange(store)
    with open_exchange(store), abandoned_exchanges(store) as left:
        assert {exchange.folder for exchange in left} == {waiting.folder, empty.folder}
    assert waiting.folder.exists()
    assert not empty.folder.exists()
    old = time.time() - LEFT_AFTER - 10
    os.utime(waiting.folder.with_suffix(".lock"), (old, old))
    with abandoned_exchanges(store):
        pass
    assert [*(store.cache / "farm").iterdir()] == []


def test_kept_orders_are_found_by_their_trees(store: Store, tmp_path: Path) -> None:
    kept = KeptOrders(store)
    one, two = commit(store, "one"), commit(store, "two")
    kept.keep(one, [b"a" * 20, b"b" * 20])
    kept.keep(two, [b"b" * 20])
    assert kept.holding([b"a" * 20, b"b" * 20, b"c" * 20]) == [one, two]
    (store.cache / "kept").write_bytes(b"nonsense")
    assert kept.holding([b"a" * 20]) == []
