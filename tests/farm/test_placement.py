"""The order of tasks on a farm, and their machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from hypothesis import given
from hypothesis import strategies as st

from prov.farm.cluster import Machine
from prov.farm.placement import GUESS, Queue, Wish, critical_paths
from prov.records.keys import TaskKey
from tests.scheduler.test_plan import graph

CHAIN = {"a:compile": {}, "b:compile": {"from": ["a:compile"]}, "c:compile": {}}
CHAIN = CHAIN | {"all:image": {"from": ["b:compile", "c:compile"]}}


def test_the_longest_chain_counts() -> None:
    paths = critical_paths(graph(CHAIN, "all:image"), {TaskKey("a:compile"): 5.0})
    assert paths == {
        "a:compile": 5 + 2 * GUESS,
        "b:compile": 2 * GUESS,
        "c:compile": 2 * GUESS,
        "all:image": GUESS,
    }


def play(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 10))


def machine(name: str, jobs: int = 1, *, network: bool = False) -> Machine:
    return Machine(name, name, jobs, network)


def wish(chain: str = "", *avoided: str, network: bool = False, alone: bool = False) -> Wish:
    return Wish(asyncio.get_running_loop().create_future(), chain, network, avoided, alone)


def test_the_greatest_priority_is_served_first() -> None:
    async def story() -> None:
        only = machine("m")
        queue = Queue(lambda: [only])
        first = wish()
        assert await queue.acquire(first, 0) is only
        order: list[float] = []

        async def run(priority: float) -> None:
            own = wish()
            assert await queue.acquire(own, priority) is only
            order.append(priority)
            queue.release(own, only)

        tasks = [asyncio.create_task(run(priority)) for priority in (1, 3, 2)]
        await asyncio.sleep(0)
        queue.release(first, only)
        await asyncio.gather(*tasks)
        assert order == [3, 2, 1]
        assert only.orders == 0

    play(story)


def test_a_chain_stays_at_its_machine_unless_that_is_busy() -> None:
    async def story() -> None:
        one, two = machine("a"), machine("b")
        queue = Queue(lambda: [one, two])
        queue.homes["chain"] = "b"
        held = wish("chain")
        assert await queue.acquire(held, 0) is two
        assert await queue.acquire(wish("chain"), 0) is one
        queue.release(held, two)
        assert await queue.acquire(wish("other"), 0) is two

    play(story)


def test_avoided_machines_are_used_if_there_are_no_others() -> None:
    async def story() -> None:
        one, two = machine("a"), machine("b")
        machines = [one, two]
        queue = Queue(lambda: machines)
        avoiding = wish("", "a")
        assert await queue.acquire(avoiding, 0) is two
        queue.release(avoiding, two)
        machines.remove(two)
        assert await queue.acquire(wish("", "a"), 0) is one

    play(story)


def test_a_task_can_have_a_machine_for_itself() -> None:
    async def story() -> None:
        big = machine("m", 2)
        queue = Queue(lambda: [big])
        first = wish()
        await queue.acquire(first, 0)
        alone = wish(alone=True)
        waiting = asyncio.create_task(queue.acquire(alone, 9))
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.release(first, big)
        assert await waiting is big
        later = asyncio.create_task(queue.acquire(wish(), 0))
        await asyncio.sleep(0)
        assert not later.done()
        queue.release(alone, big)
        assert await later is big

    play(story)


def test_impossible_wishes_are_rejected() -> None:
    async def story() -> None:
        machines = [machine("m")]
        queue = Queue(lambda: machines)
        network = asyncio.create_task(queue.acquire(wish(network=True), 0))
        await asyncio.sleep(0)
        queue.reject(without_machines=False)
        assert await network is None
        machines.clear()
        waiting = asyncio.create_task(queue.acquire(wish(), 0))
        await asyncio.sleep(0)
        queue.reject(without_machines=False)
        assert not waiting.done()
        queue.reject(without_machines=True)
        assert await waiting is None

    play(story)


def test_a_cancelled_task_gives_its_machine_back() -> None:
    async def story() -> None:
        only = machine("m")
        queue = Queue(lambda: [only])
        task = asyncio.create_task(queue.acquire(wish(), 0))
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert await queue.acquire(wish(), 0) is only

    play(story)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=15),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
)
def test_each_task_runs_once_and_no_machine_is_overloaded(
    rows: list[tuple[int, bool, bool]], jobs: list[int]
) -> None:
    async def story() -> None:
        machines = [machine(str(number), count) for number, count in enumerate(jobs)]
        queue = Queue(lambda: machines)
        ran = []

        async def run(number: int, priority: int, *, alone: bool, pause: bool) -> None:
            own = wish(alone=alone)
            got = await queue.acquire(own, priority)
            assert got is not None
            assert got.orders <= got.jobs
            assert not alone or got.orders == 1
            await asyncio.sleep(0.0001 if pause else 0)
            assert not alone or got.orders == 1
            ran.append(number)
            queue.release(own, got)

        await asyncio.gather(
            *(run(number, row[0], alone=row[1], pause=row[2]) for number, row in enumerate(rows))
        )
        assert sorted(ran) == list(range(len(rows)))
        assert all(machine.orders == 0 and not machine.is_reserved for machine in machines)

    play(story)
