"""Tests of a finished build: its result and its record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prov.recipes.graph import Graph
from prov.recipes.recipe import Setting
from prov.records.build_list import ABOUT, BuildList, Span
from prov.records.keys import TaskKey
from prov.records.outcomes import Outcome
from prov.scheduler.plan import Choices, make_plan
from prov.scheduler.summary import COUNTED, RunOptions, Settled, Summary, record_summary
from prov.store.repository import Store
from prov.tasks.job import Result
from tests.records.samples import output_id, task_hash
from tests.scheduler.builds import Build, Everywhere, Here
from tests.scheduler.test_plan import LIB, graph, own
from tests.tasks.samples import workspace_of

COMPILE, INSTALL = TaskKey("lib:compile"), TaskKey("lib:install")
IMAGE = TaskKey("image:image")
BEGUN = 1_700_000_000.0


@pytest.fixture
def whole() -> Graph:
    return graph(LIB, "image:image")


def carried_out(store: Store, whole: Graph, known: Everywhere, *failing: str) -> Build:
    """Return a finished build."""
    build = Build(store, make_plan(whole, own(whole), known, Choices()), known)
    build.failing = set(failing)
    assert build.carry_out() is None
    return build


def recorded(store: Store, build: Build, summary: Summary) -> BuildList:
    """Record a build, read it back and return it."""
    workspace = workspace_of(store, Path("/work"), sandbox="bwrap")
    records = Here(store, known=build.known)
    commit = record_summary(workspace, build.plan, records, summary, BEGUN, 4)
    listed = BuildList.latest(store)
    assert listed is not None
    assert listed.commit == commit
    return listed


# results


@pytest.mark.parametrize(
    ("failed", "not_built", "interrupted", "result"),
    [
        (False, False, False, "ok"),
        (True, False, False, "failed"),
        (False, True, False, "failed"),
        (False, False, True, "interrupted"),
        (True, True, True, "interrupted"),
    ],
)
def test_result_of_a_build(
    *, failed: bool, not_built: bool, interrupted: bool, result: str
) -> None:
    failures = [Result(COMPILE, "failed", task_hash("x"))] if failed else []
    summary = Summary({}, failures, [IMAGE] if not_built else [], interrupted=interrupted)
    assert summary.result == result
    assert summary.ok == (result == "ok")


def test_outcomes_are_counted() -> None:
    outcomes = [Outcome.RAN, Outcome.RAN, Outcome.CUT_OFF, Outcome.UP_TO_DATE]
    settled = {
        TaskKey.of("a", str(number)): Settled(TaskKey.of("a", str(number)), what, None, None)
        for number, what in enumerate(outcomes)
    }
    summary = Summary(settled, [], [])
    assert [summary.count(what) for what in COUNTED] == [2, 0, 0, 1, 0]


def test_as_many_jobs_as_processors() -> None:
    assert RunOptions().jobs >= 1
    assert not RunOptions().keep_going


# the record


def test_a_build_is_read_back(store: Store, whole: Graph) -> None:
    build = carried_out(store, whole, Everywhere())
    summary = build.ledger.summary(build.plan, seconds=2.5, interrupted=False)
    summary.spans = [(COMPILE, BEGUN + 1, BEGUN + 1.5), (INSTALL, BEGUN + 1.5, BEGUN + 2)]
    summary.added_by = {COMPILE: 4096}
    listed = recorded(store, build, summary)
    assert listed.recipes() == ["app", "image", "lib"]
    for key, settled in build.ledger.settled.items():
        line = listed.line(key)
        assert line is not None
        assert (line.task_hash, line.output, line.run) == (settled.task_hash, settled.output, 1)
    assert listed.happened() == dict.fromkeys(whole.nodes, "ran")
    assert listed.timeline() == [Span(COMPILE, 1.0, 0.5, 4096), Span(INSTALL, 1.5, 0.5, 0)]
    assert listed.versions() == {"app": "1", "image": "1", "lib": "1"}
    assert listed.reasons()[COMPILE] == "not built before"
    assert set(listed.reasons()) == {COMPILE, INSTALL}  # only tasks that ran
    assert listed.seconds() == 2.5


def with_metadata(whole: Graph, **texts: str) -> Graph:
    """Return a graph in which the recipe lib states something about itself."""
    lib = whole.nodes[COMPILE].recipe
    variables = {**lib.variables, "PV": Setting("1.5", "test")}
    stated = replace(lib, metadata=texts, variables=variables)
    nodes = {
        key: replace(node, recipe=stated) if node.recipe.name == lib.name else node
        for key, node in whole.nodes.items()
    }
    return replace(whole, nodes=nodes)


def test_a_build_records_what_recipes_state_about_themselves(store: Store, whole: Graph) -> None:
    texts = {"license": "MIT", "cpe": "lib:${PV}\nold:1", "purl": "pkg:generic/${UNKNOWN}"}
    build = carried_out(store, with_metadata(whole, **texts), Everywhere())
    summary = build.ledger.summary(build.plan, seconds=1, interrupted=False)
    listed = recorded(store, build, summary)
    assert listed.about("lib") == {
        "license": "MIT",
        "cpe": "lib:1.5\nold:1",
        "purl": "pkg:generic/${UNKNOWN}",  # it cannot be expanded, and the build is recorded
    }
    assert listed.about("app") == listed.about("unknown") == {}


def test_recipes_that_state_nothing_add_nothing_to_a_build(store: Store, whole: Graph) -> None:
    build = carried_out(store, whole, Everywhere())
    summary = build.ledger.summary(build.plan, seconds=1, interrupted=False)
    listed = recorded(store, build, summary)
    names = {entry.name for entry in store.objects.tree(store.objects.commit(listed.commit).tree)}
    assert ABOUT.encode() not in names
    assert listed.about("lib") == {}


def test_facts_of_a_build(store: Store, whole: Graph) -> None:
    build = carried_out(store, whole, Everywhere())
    facts = recorded(store, build, build.ledger.summary(build.plan, seconds=1, interrupted=False))
    expected = {
        "targets": "image:image",
        "result": "ok",
        "seconds": "1.000",
        "sandbox": "bwrap",
        "jobs": "4",
        "failed": "0",
        "ran": "5",
        "restored": "0",
        "cut-off": "0",
        "stale": "0",
    }
    assert expected.items() <= facts.facts().items()
    commit = store.objects.commit(facts.commit)
    assert commit.author.seconds == int(BEGUN)
    assert commit.message == "build of image:image: ok\n"


def test_a_build_with_nothing_to_do_lists_the_same(store: Store, whole: Graph) -> None:
    known = Everywhere()
    first = carried_out(store, whole, known)
    before = recorded(store, first, first.ledger.summary(first.plan, seconds=1, interrupted=False))
    second = carried_out(store, whole, known)
    after = recorded(
        store, second, second.ledger.summary(second.plan, seconds=1, interrupted=False)
    )
    assert before.commit != after.commit
    assert before.listed() == after.listed()
    assert after.happened() == {}
    assert after.timeline() == []
    assert before.differing(after) == set()


def test_a_failed_build(store: Store, whole: Graph) -> None:
    build = carried_out(store, whole, Everywhere(), "lib:install")
    summary = build.ledger.summary(build.plan, seconds=1, interrupted=False)
    listed = recorded(store, build, summary)
    happened = listed.happened()
    (failure,) = summary.failed
    assert happened[INSTALL] == f"failed {failure.task_hash.hex()}"
    assert happened[COMPILE] == "ran"
    assert {happened[key] for key in whole.nodes if key not in (COMPILE, INSTALL)} == {"not built"}
    # only tasks with an output are listed
    assert listed.recipes() == ["lib"]
    assert set(listed.lines("lib")) == {COMPILE}
    assert set(listed.reasons()) == {COMPILE, INSTALL}
    assert listed.facts()["failed"] == "1"
    assert listed.facts()["result"] == "failed"


def test_the_number_of_a_run_is_that_of_the_last_build(store: Store, whole: Graph) -> None:
    known = Everywhere()
    first = carried_out(store, whole, known)
    summary = first.ledger.summary(first.plan, seconds=1, interrupted=False)
    summary.settled[IMAGE].number = 7
    recorded(store, first, summary)
    again = carried_out(store, whole, known)
    listed = recorded(store, again, again.ledger.summary(again.plan, seconds=1, interrupted=False))
    line = listed.line(IMAGE)
    assert line is not None
    assert line.run == 7  # not the number of the last recorded run


def test_a_different_hash_has_its_own_number(store: Store, whole: Graph) -> None:
    known = Everywhere()
    first = carried_out(store, whole, known)
    summary = first.ledger.summary(first.plan, seconds=1, interrupted=False)
    settled = summary.settled[IMAGE]
    settled.task_hash, settled.output, settled.number = task_hash("x"), output_id("x"), 7
    recorded(store, first, summary)
    again = carried_out(store, whole, known)
    listed = recorded(store, again, again.ledger.summary(again.plan, seconds=1, interrupted=False))
    line = listed.line(IMAGE)
    assert line is not None
    assert line.run == 1
