"""The build's side of claims: what it asks the keeper, and how it takes the answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from prov.claims.keeper import KeeperPipes
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.scheduler import claims as module
from prov.scheduler.claims import TaskClaims, claims_of


class KeeperEnd:
    """The keeper's ends of the pipes, and the notes that the user saw."""

    def __init__(self) -> None:
        self.requests, request_writer = os.pipe()
        answers, self.answers = os.pipe()
        _, published = os.pipe()
        self.pipes = KeeperPipes("team", request_writer, answers, published)
        self.notes: list[str] = []
        os.set_blocking(self.requests, False)

    def lines(self) -> list[str]:
        """Return the new requests, with a digit for each hash."""
        try:
            text = os.read(self.requests, 1 << 16).decode()
        except BlockingIOError:
            return []
        return [line[:-39] for line in text.splitlines()]

    def answer(self, *lines: str) -> None:
        """Send answers, such as `run 1`."""
        for line in lines:
            word, number, *rest = line.split(" ")
            text = " ".join([word, hash_of(int(number)).hex(), *rest])
            os.write(self.answers, f"{text}\n".encode())


def hash_of(number: int) -> TaskHash:
    return TaskHash(bytes([number << 4 | number]) * 20)


@pytest.fixture
def keeper() -> Iterator[KeeperEnd]:
    yield KeeperEnd()


def use(keeper: KeeperEnd, story: Callable[[TaskClaims], Awaitable[object]], most: int = 2) -> None:
    """Use claims in an event loop."""

    async def main() -> None:
        claims = TaskClaims(keeper.pipes, keeper.notes.append, most)
        claims.start()
        await asyncio.wait_for(story(claims), 10)
        claims.stop()

    asyncio.run(main())


class Runs:
    """Tasks of a build: which of them run, and which were found."""

    def __init__(self, claims: TaskClaims) -> None:
        self.claims = claims
        self.running: dict[int, asyncio.Event] = {}
        self.found: list[int] = []

    def start(self, *numbers: int, fails: bool = False) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self._run(number, fails=fails)) for number in numbers]

    async def _run(self, number: int, *, fails: bool) -> None:
        async with self.claims.claimed(TaskKey(f"app:t{number}"), hash_of(number)) as found:
            if found:
                self.found.append(number)
                return
            self.running[number] = asyncio.Event()
            await self.running[number].wait()
            if fails:
                raise RuntimeError("it failed")

    def end(self, number: int) -> None:
        self.running.pop(number).set()


async def soon() -> None:
    """Let the event loop handle what is pending."""
    for _ in range(5):
        await asyncio.sleep(0.005)


def test_a_task_runs_and_its_claim_is_handed_to_the_publisher(keeper: KeeperEnd) -> None:
    async def story(claims: TaskClaims) -> None:
        runs = Runs(claims)
        tasks = runs.start(1)
        await soon()
        assert keeper.lines() == ["want 1"]
        assert [*runs.running] == []
        keeper.answer("run 1")
        await soon()
        runs.end(1)
        await asyncio.gather(*tasks)
        assert keeper.lines() == ["done 1"]

    use(keeper, story)


def test_a_failed_task_is_dropped(keeper: KeeperEnd) -> None:
    async def story(claims: TaskClaims) -> None:
        runs = Runs(claims)
        tasks = runs.start(1, fails=True)
        keeper.answer("run 1")
        await soon()
        runs.end(1)
        with pytest.raises(RuntimeError):
            await tasks[0]
        assert keeper.lines() == ["want 1", "drop 1"]

    use(keeper, story)


def test_few_tasks_are_claimed_and_waiting_ones_do_not_count(keeper: KeeperEnd) -> None:
    async def story(claims: TaskClaims) -> None:
        runs = Runs(claims)
        tasks = runs.start(1, 2, 3, 4)
        await soon()
        assert keeper.lines() == ["want 1", "want 2"]
        keeper.answer("run 1", "wait 2 a host")
        await soon()
        assert keeper.lines() == ["want 3"]
        assert keeper.notes == ["app:t2: waiting for the build on a host that runs it"]
        keeper.answer("run 3", "found 2")
        await soon()
        assert runs.found == [2]
        runs.end(1)
        await soon()
        assert keeper.lines() == ["done 2", "done 1", "want 4"]
        keeper.answer("run 4")
        await soon()
        runs.end(3)
        runs.end(4)
        await asyncio.gather(*tasks)

    use(keeper, story)


def test_tasks_run_without_claims_after_the_keeper_has_ended(keeper: KeeperEnd) -> None:
    async def story(claims: TaskClaims) -> None:
        runs = Runs(claims)
        tasks = runs.start(1, 2, 3)
        await soon()
        os.close(keeper.answers)
        await soon()
        assert sorted(runs.running) == [1, 2, 3]
        for number in (1, 2, 3):
            runs.end(number)
        await asyncio.gather(*tasks)

    use(keeper, story)


def test_tasks_run_without_claims_if_no_answer_arrives(
    keeper: KeeperEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def story(claims: TaskClaims) -> None:
        runs = Runs(claims)
        tasks = runs.start(1, 2)
        keeper.answer("wait 1 a host")  # this is an answer
        await asyncio.sleep(0.2)
        assert sorted(runs.running) == [1, 2]
        assert keeper.notes[1:] == ["remote team: no answer; tasks are not claimed there"]
        for number in (1, 2):
            runs.end(number)
        await asyncio.gather(*tasks)

    use(keeper, story)


def test_tasks_with_the_same_inputs_run_both(keeper: KeeperEnd) -> None:
    async def story(claims: TaskClaims) -> None:
        async with claims.claimed(TaskKey("a:go"), hash_of(1)) as found:
            assert not found
            async with claims.claimed(TaskKey("b:go"), hash_of(1)) as found_too:
                assert not found_too
        assert keeper.lines() == ["want 1", "done 1"]

    async def answered(claims: TaskClaims) -> None:
        task = asyncio.ensure_future(story(claims))
        await soon()
        keeper.answer("run 1")
        await task

    use(keeper, answered)


def test_notes_reach_the_user(keeper: KeeperEnd) -> None:
    async def story(claims: TaskClaims) -> None:
        os.write(keeper.answers, b"note the server declined the push\n")
        await soon()

    use(keeper, story)
    assert keeper.notes == ["the server declined the push"]


def test_a_build_without_a_keeper_claims_nothing(keeper: KeeperEnd) -> None:
    assert claims_of(None, 4, keeper.notes.append) is None
    claims = claims_of(keeper.pipes, 4, keeper.notes.append)
    assert claims is not None
    assert claims.most == 5
