"""The log of deleted refs."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.store.repository import Store
from prov.upkeep.pruned import Deletion, Pruned


@pytest.fixture
def log(tmp_path: Path) -> Pruned:
    return Pruned(Store.create(tmp_path / "store.git"))


def deletion(ref: str, rule: str = "days 30") -> Deletion:
    return Deletion(ref, b"", rule)


def test_without_a_log(log: Pruned) -> None:
    assert log.find("refs/tags/a") is None
    assert log.refs() == set()


def test_the_last_deletion_counts(log: Pruned) -> None:
    log.add([deletion("refs/tags/a"), deletion("refs/tags/b", "size")], 100.4)
    log.add([deletion("refs/tags/a", "builds 2")], 200.0)
    assert log.find("refs/tags/a") == (200, "builds 2")
    assert log.find("refs/tags/b") == (100, "size")
    assert log.find("tags/a") is None
    assert log.refs() == {"refs/tags/a", "refs/tags/b"}


def test_a_line_cut_off_by_a_crash(log: Pruned) -> None:
    log.add([deletion("refs/tags/a")], 100.0)
    with open(log.path, "ab") as stream:
        stream.write(b"150\tda")
    log.add([deletion("refs/tags/b")], 200.0)
    assert log.find("refs/tags/a") == (100, "days 30")
    when = log.find("refs/tags/b")
    assert when is not None


def test_the_older_half_is_deleted(log: Pruned) -> None:
    small = Pruned(log.store, most=100)
    for number in range(10):
        small.add([deletion(f"refs/tags/{number}")], number)
    assert small.path.stat().st_size < 200
    assert small.find("refs/tags/9") is not None
    assert small.find("refs/tags/0") is None
