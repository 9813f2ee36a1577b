"""Tests of worker processes and their answers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial

import pytest

from prov.errors import BuildError, ProvError
from prov.scheduler.workers import Workers

pytestmark = pytest.mark.process


def _identify(number: int) -> tuple[int, int]:
    """Return a number and the id of this process."""
    return number, os.getpid()


def test_answers_are_returned() -> None:
    async def main() -> list[object]:
        workers = Workers()
        functions = [partial(_identify, number) for number in (1, 2)]
        runs = [workers.run(function, "x") for function in functions]
        return list(await asyncio.gather(*runs))

    first, second = asyncio.run(main())
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert (first[0], second[0]) == (1, 2)
    assert len({first[1], second[1], os.getpid()}) == 3


def test_a_large_answer_is_whole() -> None:
    data = b"x" * (1 << 20)
    assert asyncio.run(Workers().run(lambda: data, "x")) == data


def test_errors_are_raised() -> None:
    def fail() -> None:
        raise BuildError("no disk", hint="buy one")

    with pytest.raises(BuildError, match="no disk") as error:
        asyncio.run(Workers().run(fail, "zlib:compile"))
    assert error.value.hint == "buy one"


def test_a_worker_that_ends_without_an_answer_is_named() -> None:
    with pytest.raises(ProvError, match="the process for zlib:compile exited with status 7"):
        asyncio.run(Workers().run(lambda: os._exit(7), "zlib:compile"))


def test_all_workers_are_killed() -> None:
    async def main() -> float:
        workers = Workers()
        tasks = [asyncio.ensure_future(workers.run(lambda: time.sleep(60), "x")) for _ in range(2)]
        begun = time.monotonic()
        await asyncio.sleep(0.1)
        workers.kill(signal.SIGKILL)
        for task in tasks:
            with pytest.raises(ProvError, match="was killed by SIGKILL"):
                await task
        workers.kill(signal.SIGKILL)  # none are left
        return time.monotonic() - begun

    assert asyncio.run(main()) < 30
