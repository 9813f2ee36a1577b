"""Tests of the ledger of a build."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.outcomes import Outcome
from prov.scheduler.ledger import Ledger
from prov.scheduler.plan import Choices, Plan, make_plan
from prov.scheduler.summary import Settled
from prov.tasks.job import Result
from tests.records.samples import APP, COMPILE, INSTALL, output_id, task_hash
from tests.scheduler.builds import Shown
from tests.scheduler.test_plan import LIB, Known, graph, own


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def ledger(shown: Shown) -> Ledger:
    """The ledger of a build in which two tasks run or may run."""
    return Ledger(shown, {COMPILE, INSTALL})


@pytest.fixture
def plan() -> Plan:
    """A plan of a graph without recorded results."""
    whole = graph(LIB, "image:image")
    return make_plan(whole, own(whole), Known(), Choices())


def settled(key: TaskKey, what: Outcome = Outcome.RAN) -> Settled:
    """Return a finished task."""
    return Settled(key, what, task_hash(key), output_id(key))


def test_a_task_is_entered_once(ledger: Ledger, shown: Shown) -> None:
    first = ledger.settle(settled(COMPILE))
    again = ledger.settle(settled(COMPILE, Outcome.CUT_OFF))
    assert ledger.settled == {COMPILE: first}
    assert again.what == Outcome.CUT_OFF
    assert shown.ends == [(COMPILE, "ran")]


def test_only_tasks_that_may_run_are_counted(ledger: Ledger, shown: Shown) -> None:
    for key in (APP, COMPILE, INSTALL):
        ledger.settle(settled(key))
    assert shown.ends == [(COMPILE, "ran"), (INSTALL, "ran")]
    assert shown.counts == [(1, 2), (2, 2)]
    assert APP in ledger.settled


@given(st.lists(st.sampled_from([COMPILE, INSTALL, APP]), max_size=8))
def test_counts_end_at_the_total(keys: list[TaskKey]) -> None:
    shown = Shown()
    ledger = Ledger(shown, set(keys))
    for key in keys:
        ledger.settle(settled(key))
    total = len(set(keys))
    assert shown.counts == [(number, total) for number in range(1, total + 1)]
    assert set(ledger.settled) == set(keys)


def test_a_failure_is_not_a_result(ledger: Ledger, shown: Shown, plan: Plan) -> None:
    result = Result(COMPILE, "failed", task_hash("compile"))
    ledger.fail(result)
    assert ledger.failed == [result]
    assert ledger.settled == {}
    assert shown.ends == [(COMPILE, "failed")]
    assert ledger.summary(plan, seconds=1.0, interrupted=False).failed == [result]


def test_a_task_that_ran_has_a_span(ledger: Ledger, shown: Shown) -> None:
    ledger.start(COMPILE)
    ledger.end(COMPILE)
    ((key, began, ended),) = ledger.spans
    assert key == COMPILE
    assert began <= ended
    assert shown.starts == [COMPILE]


def test_a_dropped_task_has_no_span(ledger: Ledger) -> None:
    ledger.start(COMPILE)
    ledger.drop(COMPILE)
    ledger.drop(INSTALL)
    assert ledger.spans == []
    assert ledger._running == {}


@pytest.mark.parametrize(
    ("spans", "running", "beside"),
    [
        ([(COMPILE, 1.0, 2.0)], [], []),
        ([(COMPILE, 1.0, 2.0)], [APP], [APP]),
        ([(APP, 0.0, 0.5), (COMPILE, 1.0, 2.0)], [], []),
        ([(APP, 0.0, 1.5), (COMPILE, 1.0, 2.0)], [], [APP]),
        ([(COMPILE, 1.0, 2.0), (APP, 1.5, 3.0)], [INSTALL], [INSTALL, APP]),
        # the last of two runs counts
        ([(COMPILE, 1.0, 2.0), (APP, 1.5, 3.0), (COMPILE, 4.0, 5.0)], [], []),
    ],
)
def test_tasks_that_ran_at_the_same_time(
    ledger: Ledger,
    spans: list[tuple[TaskKey, float, float]],
    running: list[TaskKey],
    beside: list[TaskKey],
) -> None:
    ledger.spans = spans
    for key in running:
        ledger.start(key)
    assert ledger.ran_beside(COMPILE) == beside


def test_costs_are_added_up(ledger: Ledger, shown: Shown, plan: Plan) -> None:
    for key, seconds, added in ((COMPILE, 3.0, 100), (INSTALL, 2.0, 20)):
        ledger.count(
            Result(
                key,
                "ran",
                task_hash(key),
                seconds=seconds,
                script_seconds=1.5,
                added=added,
                notes=[f"note of {key}"],
            )
        )
    summary = ledger.summary(plan, seconds=4.0, interrupted=False)
    assert (summary.script_seconds, summary.own_seconds, summary.added) == (3.0, 2.0, 120)
    assert summary.added_by == {COMPILE: 100, INSTALL: 20}
    assert shown.notes == [f"note of {COMPILE}", f"note of {INSTALL}"]


def test_tasks_not_needed_are_skipped(shown: Shown, plan: Plan) -> None:
    work = {step.key for step in plan.work}
    ledger = Ledger(shown, work)
    install = TaskKey("lib:install")
    ledger.settle(settled(install))
    ledger.cut_off_the_rest(plan)
    assert set(ledger.settled) == work
    outcomes = {key: settled.what for key, settled in ledger.settled.items()}
    assert outcomes.pop(install) == Outcome.RAN
    assert set(outcomes.values()) == {Outcome.CUT_OFF}
    assert shown.counts[-1] == (len(work), len(work))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, Outcome.RESTORED),
        (Outcome.UP_TO_DATE, Outcome.RESTORED),
        (Outcome.RAN, Outcome.RAN),
        (Outcome.FETCHED, Outcome.FETCHED),
        (Outcome.STALE, Outcome.STALE),
        (Outcome.CUT_OFF, Outcome.CUT_OFF),
    ],
)
def test_a_used_output_is_restored(
    ledger: Ledger, plan: Plan, before: Outcome | None, after: Outcome
) -> None:
    install = TaskKey("lib:install")
    if before is not None:
        ledger.settle(settled(install, before))
    ledger.note_restored(plan, [install])
    assert ledger.settled[install].what == after


def test_the_hash_of_a_task_is_that_of_its_run(ledger: Ledger, plan: Plan) -> None:
    compile_ = TaskKey("lib:compile")
    planned = plan.steps[compile_].task_hash
    assert planned is not None
    assert ledger.task_hash(plan, compile_) == planned
    ledger.settle(settled(compile_))
    assert ledger.task_hash(plan, compile_) == task_hash(compile_) != planned
    assert ledger.task_hash(plan, TaskKey("image:image")) is None


@pytest.mark.parametrize(
    ("what", "not_built"), [(None, ["image:image"]), ("ran", []), ("failed", [])]
)
def test_targets_not_built(
    ledger: Ledger, plan: Plan, what: str | None, not_built: list[str]
) -> None:
    image = TaskKey("image:image")
    if what == "ran":
        ledger.settle(settled(image))
    elif what == "failed":
        ledger.fail(Result(image, "failed", TaskHash(b"")))
    summary = ledger.summary(plan, seconds=1.0, interrupted=True)
    assert summary.not_built == not_built
    assert summary.interrupted
