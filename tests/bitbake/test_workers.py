"""Worker processes serve many jobs, and replace each other when they die, grow or become old."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from prov.bitbake import workers as module
from prov.bitbake.workers import RecordingWorker, RecordingWorkers
from prov.errors import ProvError

PATIENCE = 20.0


class Pool(NamedTuple):
    """RecordingWorkers, and the selector that reports them."""

    workers: RecordingWorkers
    selector: selectors.DefaultSelector

    def start(self, job: object) -> RecordingWorker:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            return self.workers.start(job, theirs, f"job {job}")

    def results(self, count: int = 1) -> list[Callable[[], object]]:
        """Wait until jobs have ended, and return functions that return or raise their results."""
        ended: list[Callable[[], object]] = []
        until = time.monotonic() + PATIENCE
        while len(ended) < count:
            assert time.monotonic() < until
            for key, _ in self.selector.select(1):
                result = self.workers.hear(key.data)
                ended += [result] if result is not None else []
        return ended

    def run(self, job: object) -> object:
        self.start(job)
        (result,) = self.results()
        return result()


@pytest.fixture(autouse=True)
def memory_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow workers the memory of this process, which other tests have used before the fork."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(module, "LARGEST", used + module.LARGEST)


state = "inherited"


def serve(job: object, connection: socket.socket) -> object:
    if job == "pid":
        return os.getpid()
    if job == "state":
        return state
    if job == "large":
        return b"x" * (5 << 20)
    if job == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "send":
        connection.sendall(b"to the task")
    if isinstance(job, float):
        time.sleep(job)
    if isinstance(job, Exception):
        raise job
    return job


def tidy() -> None:
    global state
    if state == "untidy":
        state = "tidy"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with selectors.DefaultSelector() as selector:
        workers = RecordingWorkers(serve, tidy, selector)
        yield Pool(workers, selector)
        workers.close()
        assert not selector.get_map()  # no worker is left


def exited(pid: object) -> bool:
    """Return whether a process has exited and was waited for."""
    assert isinstance(pid, int)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_worker_serves_many_jobs(pool: Pool) -> None:
    assert len({pool.run("pid") for _ in range(20)}) == 1
    pool.workers.close()
    assert pool.workers.idle == []


def test_jobs_at_the_same_time_have_workers_of_their_own(pool: Pool) -> None:
    for seconds in (0.3, 0.2, 0.1):
        pool.start(seconds)
    assert sorted(str(result()) for result in pool.results(3)) == ["0.1", "0.2", "0.3"]
    assert len(pool.workers.idle) == min(3, module.MOST_IDLE)


@pytest.mark.parametrize("job", [None, {}, "text", ["list"], "large", b"\0" * (3 << 20)])
def test_jobs_and_results_have_any_size(pool: Pool, job: object) -> None:
    assert pool.run(job) == (job if job != "large" else b"x" * (5 << 20))


def test_worker_has_the_connection_of_the_task(pool: Pool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pool.workers.start("send", theirs, "send")
        pool.results()
        theirs.close()
        # the end of file shows that the worker has closed its descriptor
        assert ours.makefile("rb").read() == b"to the task"


def test_errors_are_raised_and_the_worker_stays(pool: Pool) -> None:
    pid = pool.run("pid")
    with pytest.raises(ProvError, match="no space"):
        pool.run(ProvError("no space", hint="delete something"))
    with pytest.raises(OSError, match="denied"):
        pool.run(PermissionError("denied"))
    assert pool.run("pid") == pid


def test_killed_worker_fails_only_its_job(pool: Pool) -> None:
    pool.start(0.3)
    pool.start("crash")
    first, second = pool.results(2)
    with pytest.raises(ProvError, match=r"the process for job crash was killed by SIGKILL"):
        first()
    assert second() == 0.3


def test_worker_killed_without_a_job_is_replaced(pool: Pool) -> None:
    pid = pool.run("pid")
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert pool.run("pid") != pid
    assert exited(pid)


def test_writer_notices_a_worker_killed_without_a_job(pool: Pool) -> None:
    pid = pool.run("pid")
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    (ready,) = pool.selector.select(PATIENCE)
    assert pool.workers.hear(ready[0].data) is None
    assert pool.workers.idle == []
    assert exited(pid)


def test_report_of_a_worker_that_was_replaced_is_ignored(pool: Pool) -> None:
    pid = pool.run("pid")
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    (ready,) = pool.selector.select(PATIENCE)
    assert pool.run("pid") != pid
    assert pool.workers.hear(ready[0].data) is None
    assert len(pool.workers.idle) == 1


def test_new_workers_see_the_writers_new_state(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.run("state") == "inherited"
    pool.start(0.2)  # by the same worker, which is old when it has ended
    monkeypatch.setitem(globals(), "state", "changed")
    pool.workers.renew()
    assert pool.run("state") == "changed"
    pool.results()
    assert len(pool.workers.idle) == 1
    assert pool.run("state") == "changed"


def test_workers_tidy_after_each_job(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "state", "untidy")
    assert [pool.run("state") for _ in range(3)] == ["untidy", "tidy", "tidy"]


def test_large_worker_exits(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 0)
    pids = [pool.run("pid") for _ in range(3)]
    assert len(set(pids)) == 3
    assert all(map(exited, pids))


def test_workers_exit_with_the_writer() -> None:
    """Also if it is killed: a worker must not hold another worker's connection open."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            os.close(reader)
            with selectors.DefaultSelector() as selector:
                pool = Pool(RecordingWorkers(serve, tidy, selector), selector)
                for _ in range(3):
                    pool.start(0.05)
                pool.results(3)
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.close(writer)
    os.waitpid(parent, 0)
    with open(reader, "rb") as stream:  # the workers inherited its other end
        assert stream.read() == b""
