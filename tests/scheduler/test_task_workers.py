"""Workers answer one request after the other, and nothing that a task started outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time

import pytest

from prov.errors import BuildError, ProvError
from prov.scheduler.task_workers import TaskWorkers

pytestmark = pytest.mark.process


def _pid(_request: bytes) -> int:
    return os.getpid()


def run(workers: TaskWorkers, *requests: bytes) -> list[object]:
    """Return the answers to requests made one after the other, and end the workers."""

    async def main() -> list[object]:
        try:
            return [await workers.run(request, "lib:make") for request in requests]
        finally:
            workers.close()

    return asyncio.run(main())


def test_one_worker_answers_requests_one_after_the_other() -> None:
    first, second = run(TaskWorkers(_pid), b"x", b"y")
    assert first == second != os.getpid()


def test_requests_at_the_same_time_have_workers_of_their_own() -> None:
    def answer(_request: bytes) -> int:
        time.sleep(0.1)
        return os.getpid()

    async def main() -> list[object]:
        workers = TaskWorkers(answer)
        answers = await asyncio.gather(*(workers.run(b"x", "x") for _ in range(3)))
        workers.close()
        return list(answers)

    assert len(set(asyncio.run(main()))) == 3


def test_large_requests_and_answers_are_whole() -> None:
    data = os.urandom(3 << 20)
    assert run(TaskWorkers(lambda request: request[::-1]), data, data) == [data[::-1]] * 2


def test_a_worker_goes_on_after_an_exception() -> None:
    def answer(request: bytes) -> int:
        if request == b"bad":
            raise BuildError("no disk", hint="buy one")
        return os.getpid()

    async def main() -> None:
        workers = TaskWorkers(answer)
        before = await workers.run(b"good", "x")
        with pytest.raises(BuildError, match="no disk") as error:
            await workers.run(b"bad", "x")
        assert error.value.hint == "buy one"
        assert await workers.run(b"good", "x") == before
        workers.close()

    asyncio.run(main())


def test_a_worker_that_dies_is_named_and_replaced() -> None:
    def answer(request: bytes) -> int:
        if request == b"die":
            os._exit(7)
        return os.getpid()

    async def main() -> None:
        workers = TaskWorkers(answer)
        with pytest.raises(ProvError, match="the process for lib:make exited with status 7"):
            await workers.run(b"die", "lib:make")
        first = await workers.run(b"x", "lib:make")
        assert isinstance(first, int)
        os.kill(first, signal.SIGKILL)  # an idle one, as by the kernel for its memory
        time.sleep(0.1)
        assert await workers.run(b"x", "lib:make") != first
        workers.close()

    asyncio.run(main())


def _start_sleep(_request: bytes) -> int:
    return subprocess.Popen(["sleep", "60"]).pid


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_that_a_task_left_running_end_with_it_and_the_worker_goes_on() -> None:
    async def main() -> None:
        workers = TaskWorkers(_start_sleep)
        for _ in range(2):
            pid = await workers.run(b"x", "x")
            assert isinstance(pid, int)
            for _ in range(100):
                if not _is_running(pid):
                    break
                await asyncio.sleep(0.05)
            assert not _is_running(pid)
        assert len(workers._idle) == 1
        workers.close()

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_workers_and_their_commands(number: int) -> None:
    reader, writer = os.pipe()

    def answer(request: bytes) -> None:
        if request == b"idle":
            return
        process = subprocess.Popen(["sleep", "60"])
        os.write(writer, b"%d\n" % process.pid)
        process.wait()

    async def main() -> None:
        workers = TaskWorkers(answer)
        await workers.run(b"idle", "x")
        running = asyncio.ensure_future(workers.run(b"busy", "x"))
        await asyncio.sleep(0)
        pid = int(await asyncio.to_thread(os.read, reader, 100))
        workers.kill(number)
        with pytest.raises(ProvError, match=f"was killed by {signal.Signals(number).name}"):
            await running
        for _ in range(100):
            if not _is_running(pid):
                break
            await asyncio.sleep(0.05)
        assert not _is_running(pid)
        workers.close()

    asyncio.run(main())


def test_workers_end_although_others_have_inherited_their_pipes() -> None:
    async def main() -> list[int]:
        workers = TaskWorkers(_pid)
        first = asyncio.ensure_future(workers.run(b"x", "x"))
        second = asyncio.ensure_future(workers.run(b"x", "x"))
        pids = [await first, await second]
        workers.close()
        return [pid for pid in pids if isinstance(pid, int)]

    for pid in asyncio.run(main()):
        assert not _is_running(pid)
