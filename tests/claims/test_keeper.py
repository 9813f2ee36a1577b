"""Claims of builds that share a remote: each task runs once, whatever the order of events."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.claims.keeper import LONGEST_WAIT, LOOK_EVERY, RENEW_EVERY, Keeper
from prov.claims.remote_claims import SECONDS, Claim
from prov.errors import ProvError
from prov.store.objects import Oid
from prov.transport.errors import Declined, Unreachable

ONE, TWO = b"\1" * 20, b"\2" * 20


@dataclass
class Shared:
    """The claims and results at a remote, in memory, and the time."""

    claims: dict[Oid, Claim] = field(default_factory=dict)
    results: set[Oid] = field(default_factory=set)
    problem: ProvError | None = None
    """Raised by each change."""
    time: float = 1000.0
    changes: int = 0
    requests: int = 0

    def read(self) -> dict[Oid, Claim]:
        self.requests += 1
        if self.problem is not None and not isinstance(self.problem, Declined):
            raise self.problem
        return {**self.claims}

    def take(self, expected: Mapping[Oid, Oid | None]) -> dict[Oid, Oid]:
        self._change()
        taken = {}
        for task_hash, oid in expected.items():
            if self._commit(task_hash) == oid:
                self.changes += 1
                taken[task_hash] = self.changes.to_bytes(20)
                self.claims[task_hash] = Claim(taken[task_hash], "host")
        return taken

    def release(self, held: Mapping[Oid, Oid]) -> None:
        self._change()
        for task_hash, oid in held.items():
            if self._commit(task_hash) == oid:
                del self.claims[task_hash]

    def _change(self) -> None:
        self.requests += 1
        if self.problem is not None:
            raise self.problem

    def _commit(self, task_hash: Oid) -> Oid | None:
        claim = self.claims.get(task_hash)
        return claim.commit if claim else None

    def find(self, task_hashes: Iterable[Oid]) -> set[Oid]:
        self.requests += 1
        return self.results & {*task_hashes}

    def clock(self) -> float:
        return self.time


@dataclass
class Build:
    """A build with a keeper."""

    shared: Shared
    answers: list[str] = field(default_factory=list)
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        shared = self.shared
        self.keeper = Keeper(shared, shared.find, self.answers.append, shared.clock)

    def want(self, *task_hashes: Oid) -> list[str]:
        for task_hash in task_hashes:
            self.keeper.from_build(f"want {task_hash.hex()}")
        return self.work()

    def work(self, seconds: float = 0.0) -> list[str]:
        """Return the words of the answers after some seconds."""
        self.shared.time += seconds
        self.keeper.work()
        words = [line.split(" ")[0] for line in self.answers]
        self.answers.clear()
        return words

    def publish(self, task_hash: Oid) -> None:
        self.keeper.from_build(f"done {task_hash.hex()}")
        self.shared.results.add(task_hash)
        self.keeper.from_publisher(f"drop {task_hash.hex()}")
        self.keeper.work()


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def one(shared: Shared) -> Build:
    return Build(shared)


@pytest.fixture
def other(shared: Shared) -> Build:
    return Build(shared)


LOOK = LOOK_EVERY * 1.5


def test_the_second_build_waits_for_the_result(one: Build, other: Build) -> None:
    assert one.want(ONE) == ["run"]
    assert other.want(ONE, TWO) == ["run", "wait"]
    assert other.work(LOOK) == []
    one.publish(ONE)
    assert other.work(LOOK) == ["found"]
    assert one.shared.claims.keys() == {TWO}


def test_a_task_that_failed_runs_in_the_next_build(one: Build, other: Build) -> None:
    one.want(ONE)
    other.want(ONE)
    one.keeper.from_build(f"drop {ONE.hex()}")
    one.work()
    assert other.work(LOOK) == ["run"]


@pytest.mark.parametrize("finished", [False, True])
def test_a_build_that_is_killed_releases_its_claims(
    one: Build, other: Build, finished: bool
) -> None:
    one.want(ONE)
    other.want(ONE)
    if finished:
        one.keeper.from_build(f"done {ONE.hex()}")
    one.keeper.build_ended()
    one.work()
    assert other.work(LOOK) == ([] if finished else ["run"])
    if finished:
        one.keeper.publisher_ended()
        one.work()
        assert other.work(LOOK) == ["run"]


def test_a_claim_that_is_renewed_does_not_expire(one: Build, other: Build) -> None:
    one.want(ONE)
    other.want(ONE)
    for _ in range(10):
        assert one.work(RENEW_EVERY) == []
        assert other.work() == []


def test_a_claim_of_a_killed_keeper_expires(one: Build, other: Build) -> None:
    one.want(ONE)
    other.want(ONE)
    assert other.work(SECONDS - 1) == []
    assert other.work(LOOK) == ["run"]
    # the first build's machine was suspended
    one.work()
    assert one.shared.claims[ONE].commit == other.keeper.held[ONE]


def test_of_two_observers_one_takes_over(one: Build, other: Build, shared: Shared) -> None:
    third = Build(shared)
    one.want(ONE)
    other.want(ONE)
    third.want(ONE)
    shared.time += SECONDS
    assert (other.work(), third.work()) == (["run"], [])


def test_patience_ends(one: Build, other: Build) -> None:
    one.want(ONE)
    other.want(ONE)
    one.shared.time += LONGEST_WAIT
    one.work()
    assert other.work(1) == ["run"]


def test_a_result_is_found_without_a_claim(one: Build, shared: Shared) -> None:
    """It was published after this build had read the index."""
    shared.results.add(ONE)
    assert one.want(ONE) == ["found"]
    one.work()
    assert shared.claims == {}


def test_a_server_that_forbids_claims(one: Build, other: Build, shared: Shared) -> None:
    """The build waits for others, and claims nothing."""
    one.want(ONE)
    shared.problem = Declined("team", "no")
    assert other.want(ONE, TWO) == ["note", "run", "wait"]
    shared.problem = None
    one.publish(ONE)
    assert other.work(LOOK) == ["found"]
    assert other.want(TWO) == ["run"]
    assert shared.claims == {}


def test_a_remote_that_fails_costs_no_build(one: Build, other: Build, shared: Shared) -> None:
    one.want(ONE)
    other.want(ONE)
    shared.problem = Unreachable("team", "gone")
    assert other.work(LOOK) == ["note", "run"]
    assert other.want(TWO) == ["run"]
    assert other.keeper.pause() is None


def test_requests_are_batched(one: Build, shared: Shared) -> None:
    many = [number.to_bytes(20) for number in range(1, 500)]
    assert one.want(*many) == ["run"] * len(many)
    assert shared.requests == 2
    one.work(RENEW_EVERY)
    assert shared.requests == 3


@given(st.integers(2, 6), st.integers(1, 12), st.integers())
@settings(max_examples=100, deadline=None)
def test_each_task_runs_once(count: int, tasks: int, seed: int) -> None:
    chance, shared = random.Random(seed), Shared()
    builds = [Build(shared) for _ in range(count)]
    hashes = [number.to_bytes(20) for number in range(tasks)]
    runs: list[Oid] = []
    open_tasks = [{*hashes} for _ in builds]
    running: list[dict[Oid, float]] = [{} for _ in builds]
    for build in builds:
        for task_hash in chance.sample(hashes, len(hashes)):
            build.keeper.from_build(f"want {task_hash.hex()}")
    while any(open_tasks):
        number = chance.randrange(count)
        build = builds[number]
        shared.time += chance.random() * 3
        build.keeper.work()
        for line in build.answers:
            word, digits, *_ = line.split(" ")
            task_hash = bytes.fromhex(digits)
            if word == "run":
                runs.append(task_hash)
                running[number][task_hash] = shared.time + chance.random() * 20
            elif word == "found":
                open_tasks[number].discard(task_hash)
        build.answers.clear()
        for task_hash in [hash_ for hash_, end in running[number].items() if end < shared.time]:
            del running[number][task_hash]
            open_tasks[number].discard(task_hash)
            build.publish(task_hash)
    for build in builds:
        build.keeper.work()
    assert sorted(runs) == sorted(hashes)
    assert shared.claims == {}
