"""Tests of carrying out a plan: jobs, failures, interrupts and offered results."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from prov.errors import BuildError, ProvError, StoreError
from prov.recipes.graph import Graph, Node
from prov.records.ids import CommitId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.scheduler.executor import Slot
from prov.scheduler.jobserver import Jobserver
from prov.scheduler.ledger import Ledger
from prov.scheduler.plan import Choices, make_plan
from prov.scheduler.questions import Questions
from prov.scheduler.run import Runner
from prov.scheduler.summary import RunOptions, Summary
from prov.store.repository import Store
from prov.tasks.job import Job, Result
from prov.tasks.taskhash import HashOnly, task_hash
from prov.tasks.toolchain import Toolchains
from tests.scheduler.builds import Everywhere, Here, Shown, output_of
from tests.scheduler.test_plan import LIB, graph, own
from tests.tasks.samples import workspace_of

WIDE = {
    "a:compile": {},
    "b:compile": {},
    "c:compile": {},
    "all:image": {"from": ["a:compile", "b:compile", "c:compile"]},
}
ONE = {"a:fetch": {}, "a:compile": {}, "a:install": {"from": ["a:fetch", "a:compile"]}}


class MemoryExecutor:
    """Runs tasks in memory; each ends immediately with an output."""

    def __init__(self, known: Everywhere, jobs: int) -> None:
        self.known = known
        self.jobserver = Jobserver(jobs)
        self.jobs: dict[TaskKey, Job] = {}
        self.signals: list[int] = []
        self.running: set[TaskKey] = set()
        self.most = 0
        self.failing: dict[str, Exception | str] = {}
        self.while_running: Callable[[Job], None] = lambda _job: None

    async def start(self) -> None:
        """Do nothing: it has no processes."""

    async def close(self) -> None:
        self.jobserver.close()

    @asynccontextmanager
    async def slot(self, _node: Node) -> AsyncIterator[Slot]:
        await self.jobserver.acquire()
        try:
            yield MemorySlot(self, self.jobserver)
        finally:
            self.jobserver.release()

    async def run(self, job: Job) -> Result:
        key = job.node.key
        self.jobs[key] = job
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        self.while_running(job)
        for _ in range(5):
            await asyncio.sleep(0)
        self.running.discard(key)
        oid = task_hash(HashOnly(), job.own, job.edges)
        failure = self.failing.get(key)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return Result(key, "failed", oid, problem=failure, stray_write="sysroot" in failure)
        output = output_of(key, *(taken.output for taken in (*job.from_, *job.needs)))
        self.known.outputs[key, oid] = output
        self.known.workdirs.add((key, oid))
        result = Result(key, "ran", oid, output, CommitId(oid), 1, 1.0, 0.5, notes=[f"{key}!"])
        return replace(result, added=10)

    def kill(self, number: int) -> None:
        self.signals.append(number)


@dataclass
class MemorySlot:
    """A job of a MemoryExecutor."""

    executor: MemoryExecutor
    jobserver: Jobserver
    place: str = ""

    @property
    def jobs(self) -> int:
        return self.jobserver.jobs

    @property
    def makeflags(self) -> str:
        return self.jobserver.makeflags

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return self.jobserver.pass_fds

    async def run(self, job: Job) -> Result:
        return await self.executor.run(job)


class Offers:
    """Replaces the process that publishes; records the offers."""

    def __init__(self) -> None:
        self.offers: list[TaskKey] = []
        self.whole: list[object] = []

    def offer(self, key: TaskKey, _hash: TaskHash, _static_key: StaticKey) -> None:
        self.offers.append(key)


def runner_of(
    store: Store,
    whole: Graph,
    known: Everywhere,
    *,
    options: RunOptions | None = None,
    choices: Choices | None = None,
    offers: Offers | None = None,
) -> tuple[Runner, MemoryExecutor]:
    """Return a runner of a plan in memory, and its executor."""
    plan = make_plan(whole, own(whole), known, choices or Choices())
    options = options or RunOptions(jobs=2)
    work = {step.key for step in plan.work}
    records, executor, ledger = (
        Here(store, known=known),
        MemoryExecutor(known, options.jobs),
        Ledger(Shown(), work),
    )
    runner: Runner

    def run_task(key: TaskKey) -> object:
        return runner.run_task(key)

    questions = Questions(plan, records, known, ledger, None, run_task, work)  # type: ignore[arg-type]
    publishers = [offers] if offers else []
    runner = Runner(
        workspace_of(store, store.path.parent / "work"),
        plan,
        Toolchains(store, "/usr/bin"),
        options,
        executor,
        ledger,
        questions,
        publishers,  # type: ignore[arg-type]
    )
    return runner, executor


def run(runner: Runner) -> Summary:
    """Carry out a plan without recording the build."""
    return runner.run(record=False)


def test_every_task_runs_with_its_inputs(store: Store) -> None:
    whole = graph(LIB, "image:image")
    runner, executor = runner_of(store, whole, Everywhere())
    summary = run(runner)
    assert summary.ok
    assert list(executor.jobs) == list(whole.nodes)
    jobs = {str(key): job for key, job in executor.jobs.items()}
    outputs = {str(key): settled.output for key, settled in summary.settled.items()}
    assert [taken.output for taken in jobs["app:compile"].needs] == [outputs["lib:install"]]
    assert [taken.output for taken in jobs["image:image"].from_] == [outputs["app:install"]]
    compile_ = summary.settled[TaskKey("lib:compile")]
    assert jobs["lib:install"].after == (compile_.commit,)
    assert jobs["lib:install"].chain == jobs["lib:compile"].chain == "compile"
    assert all(job.plain and not job.force for job in jobs.values())
    assert (summary.added, summary.script_seconds, summary.own_seconds) == (50, 2.5, 2.5)
    assert len(summary.spans) == 5


def test_recorded_tasks_do_not_run(store: Store) -> None:
    whole, known = graph(LIB, "image:image"), Everywhere()
    run(runner_of(store, whole, known)[0])
    runner, executor = runner_of(store, whole, known)
    assert run(runner).ok
    assert executor.jobs == {}


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (8, 3)])
def test_parallel_tasks_are_limited(store: Store, jobs: int, most: int) -> None:
    options = RunOptions(jobs=jobs)
    runner, executor = runner_of(store, graph(WIDE, "all:image"), Everywhere(), options=options)
    assert run(runner).ok
    assert executor.most == most
    assert all(job.jobs == jobs for job in executor.jobs.values())
    assert all(job.makeflags.startswith(f"-j{jobs} ") for job in executor.jobs.values())


def test_tasks_of_one_recipe_run_sequentially(store: Store) -> None:
    runner, executor = runner_of(
        store, graph(ONE, "a:install"), Everywhere(), options=RunOptions(jobs=8)
    )
    assert run(runner).ok
    assert executor.most == 1


@pytest.mark.parametrize(
    ("keep_going", "built"),
    [(False, {"a:compile"}), (True, {"a:compile", "b:compile", "c:compile"})],
)
def test_a_failure_stops_the_build_by_default(
    store: Store, *, keep_going: bool, built: set[str]
) -> None:
    options = RunOptions(jobs=1, keep_going=keep_going)
    runner, executor = runner_of(store, graph(WIDE, "all:image"), Everywhere(), options=options)
    executor.failing["a:compile"] = "exit status 2"
    summary = run(runner)
    assert not summary.ok
    assert summary.result == "failed"
    assert [result.problem for result in summary.failed] == ["exit status 2"]
    assert set(executor.jobs) == built
    assert summary.not_built == ["all:image"]


@pytest.mark.parametrize(
    ("error", "problem", "environment"),
    [
        (BuildError("no patchelf", hint="install it"), "no patchelf (install it)", False),
        (BuildError("no patchelf"), "no patchelf", False),
        (StoreError("disk full"), "disk full", True),
        (OSError(28, "No space left on device"), "No space left", True),
    ],
)
def test_a_task_that_cannot_run_fails(
    store: Store, error: Exception, problem: str, *, environment: bool
) -> None:
    runner, executor = runner_of(store, graph(LIB, "image:image"), Everywhere())
    executor.failing["lib:compile"] = error
    (failure,) = run(runner).failed
    assert problem in failure.problem
    assert failure.environment == environment


def test_an_error_in_prov_itself_is_raised(store: Store) -> None:
    runner, executor = runner_of(store, graph(LIB, "image:image"), Everywhere())
    executor.failing["lib:compile"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        run(runner)


def test_a_stray_write_names_parallel_tasks(store: Store) -> None:
    runner, executor = runner_of(
        store, graph(WIDE, "all:image"), Everywhere(), options=RunOptions(jobs=3, keep_going=True)
    )
    executor.failing["a:compile"] = "its sysroot was changed"
    (failure,) = run(runner).failed
    assert failure.problem.startswith("its sysroot was changed; ")
    assert "b:compile" in failure.problem
    assert "may have caused it" in failure.problem


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_stops_all_tasks(store: Store, times: int) -> None:
    runner, executor = runner_of(
        store, graph(WIDE, "all:image"), Everywhere(), options=RunOptions(jobs=1)
    )

    def interrupt(_job: Job) -> None:
        for _ in range(times):
            runner._interrupt()

    executor.while_running = interrupt
    executor.failing["a:compile"] = ProvError("killed")
    summary = run(runner)
    assert summary.interrupted
    assert summary.result == "interrupted"
    assert summary.failed == []  # the interrupted task did not fail
    assert executor.signals == [signal.SIGTERM, signal.SIGKILL][:times]
    assert set(executor.jobs) == {"a:compile"}


# offered results


def test_results_are_offered_as_they_are_made(store: Store) -> None:
    offers = Offers()
    whole = graph(LIB, "image:image")
    runner, _ = runner_of(store, whole, Everywhere(), offers=offers)
    assert run(runner).ok
    assert offers.offers == list(whole.nodes)
    assert len(offers.whole) == len(LIB)


def test_results_from_leftovers_are_not_offered(store: Store) -> None:
    offers = Offers()
    choices = Choices(incremental=frozenset(["app"]))
    runner, executor = runner_of(
        store, graph(LIB, "image:image"), Everywhere(), choices=choices, offers=offers
    )
    assert run(runner).ok
    assert offers.offers == ["lib:compile", "lib:install"]
    jobs = {str(key): job for key, job in executor.jobs.items()}
    assert jobs["app:install"].incremental
    assert jobs["app:install"].after == ()
    assert not jobs["image:image"].plain
    assert jobs["lib:install"].plain


def test_failures_are_not_offered(store: Store) -> None:
    offers = Offers()
    runner, executor = runner_of(store, graph(LIB, "image:image"), Everywhere(), offers=offers)
    executor.failing["lib:install"] = "exit status 1"
    run(runner)
    assert offers.offers == ["lib:compile"]


def test_a_forced_task_has_a_forced_job(store: Store) -> None:
    whole, known = graph(LIB, "image:image"), Everywhere()
    run(runner_of(store, whole, known)[0])
    choices = Choices(force=frozenset(["image:image"]))
    runner, executor = runner_of(store, whole, known, choices=choices)
    assert run(runner).ok
    assert executor.jobs[TaskKey("image:image")].force
    assert Path(executor.jobs[TaskKey("image:image")].task_paths.workdir).name == "image"
