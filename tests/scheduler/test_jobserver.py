"""The jobserver: as many tokens as jobs, whatever makes do with theirs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.scheduler.jobserver import TOKEN, Jobserver


@pytest.fixture
def jobserver() -> Iterator[Jobserver]:
    server = Jobserver(3)
    yield server
    server.close()


def free(server: Jobserver) -> int:
    """Return how many tokens are in the pipe; they are put back."""
    read, write = server.pass_fds
    os.set_blocking(read, False)
    try:
        tokens = os.read(read, 100)
    except BlockingIOError:
        return 0
    finally:
        os.set_blocking(read, True)
    os.write(write, tokens)
    return len(tokens)


def test_makes_are_told_of_the_pipe(jobserver: Jobserver) -> None:
    read, write = jobserver.pass_fds
    assert jobserver.makeflags == f"-j3 --jobserver-auth={read},{write}"
    assert free(jobserver) == 3


def test_a_task_takes_a_token_and_gives_it_back(jobserver: Jobserver) -> None:
    async def main() -> None:
        await jobserver.acquire()
        assert free(jobserver) == 2
        await jobserver.acquire()
        assert free(jobserver) == 1
        jobserver.release()
        assert free(jobserver) == 2
        jobserver.release()

    asyncio.run(main())
    assert free(jobserver) == 3


def test_a_task_waits_for_a_token() -> None:
    order: list[str] = []

    async def task(server: Jobserver, name: str) -> None:
        await server.acquire()
        order.append(f"{name} starts")
        await asyncio.sleep(0)
        order.append(f"{name} ends")
        server.release()

    async def main() -> None:
        server = Jobserver(1)
        await asyncio.gather(task(server, "a"), task(server, "b"))
        server.close()

    asyncio.run(main())
    assert order == ["a starts", "a ends", "b starts", "b ends"]


def test_a_make_may_take_the_last_token(jobserver: Jobserver) -> None:
    read, write = jobserver.pass_fds

    async def main() -> None:
        await jobserver.acquire()
        assert len(os.read(read, 2)) == 2
        waiting = asyncio.ensure_future(jobserver.acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
        os.write(write, TOKEN)  # a make puts one back
        await asyncio.wait_for(waiting, 5)
        jobserver.release()
        jobserver.release()

    asyncio.run(main())


@given(st.integers(0, 4), st.integers(0, 4))
def test_tokens_that_a_killed_make_kept_come_back(lost: int, extra: int) -> None:
    server = Jobserver(4)
    read, write = server.pass_fds

    async def main() -> None:
        await server.acquire()
        if min(lost, 3):
            os.read(read, min(lost, 3))
        os.write(write, TOKEN * extra)  # and one may put back too many
        server.release()

    asyncio.run(main())
    try:
        assert free(server) == 4
    finally:
        server.close()


def test_a_cancelled_task_is_not_woken(jobserver: Jobserver) -> None:
    async def main() -> None:
        for _ in range(3):
            await jobserver.acquire()
        first, second = (asyncio.ensure_future(jobserver.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        jobserver.release()
        await asyncio.wait_for(second, 5)
        assert first.cancelled()

    asyncio.run(main())
