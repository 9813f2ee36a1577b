"""Publishers that lose a race retry."""

from __future__ import annotations

import pytest

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote import sending
from prov.remote.publication import Published
from prov.remote.sending import ATTEMPTS, until_first
from prov.transport.errors import Declined, RemoteChanged

KEY = TaskKey("words:make")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts; they take no time here."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("losses", [0, 1, 5, ATTEMPTS - 1])
def test_a_successful_attempt_is_the_last(losses: int, pauses: list[float]) -> None:
    def attempt(number: int) -> str:
        if number < losses:
            raise RemoteChanged("m", "others were first")
        return f"attempt {number}"

    assert until_first(attempt) == f"attempt {losses}"
    assert len(pauses) == losses
    assert all(0 <= pause <= 2.0 for pause in pauses)


def test_the_number_of_attempts_is_limited(pauses: list[float]) -> None:
    numbers = []

    def attempt(number: int) -> None:
        numbers.append(number)
        raise RemoteChanged("m", "others were first")

    with pytest.raises(RemoteChanged):
        until_first(attempt)
    assert numbers == list(range(ATTEMPTS))


def test_other_failures_are_not_retried(pauses: list[float]) -> None:
    def attempt(_number: int) -> None:
        raise Declined("m", "a hook declined")

    with pytest.raises(Declined):
        until_first(attempt)
    assert pauses == []


@pytest.mark.parametrize("count", [2, 3, 7])
def test_halves_contain_all_tasks_in_order(count: int) -> None:
    oids = [number.to_bytes(20, "big") for number in range(count)]
    tasks = [
        Published(KEY, TaskHash(oid), StaticKey(oid), OutputId(oid), oid, bytes(32)) for oid in oids
    ]
    halves = sending._halves(tasks)
    assert [task for half in halves for task in half] == tasks
    assert all(halves)
