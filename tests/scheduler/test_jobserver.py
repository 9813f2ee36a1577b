"""Tests of the jobserver: it keeps as many tokens as jobs."""

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
    """Return the number of tokens in the pipe; leave them there."""
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


def test_makeflags_name_the_pipe(jobserver: Jobserver) -> None:
    read, write = jobserver.pass_fds
    assert jobserver.makeflags == f"-j3 --jobserver-auth={read},{write}"
    assert free(jobserver) == 3


def test_a_task_acquires_and_releases_a_token(jobserver: Jobserver) -> None:
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
        os.write(write, TOKEN)  # a make returns one
        await asyncio.wait_for(waiting, 5)
        jobserver.release()
        jobserver.release()

    asyncio.run(main())


@given(st.integers(0, 4), st.integers(0, 4))
def test_lost_tokens_of_a_killed_make_are_replaced(lost: int, extra: int) -> None:
    server = Jobserver(4)
    read, write = server.pass_fds

    async def main() -> None:
        await server.acquire()
        if min(lost, 3):
            os.read(read, min(lost, 3))
        os.write(write, TOKEN * extra)  # a make may return too many
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
