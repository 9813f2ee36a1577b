"""Rows of builds and outcomes, compared with the lists of builds."""

from __future__ import annotations

from prov.query.answer import answer
from prov.records.build_list import BuildList, record_build, walk_builds
from prov.records.keys import TaskKey
from prov.records.outcomes import Outcome
from prov.records.run import author
from prov.store.repository import Store


def test_builds_are_in_the_order_of_the_history(store: Store) -> None:
    rows = answer(store, "select id, result, seconds, ran from builds order by build desc").rows
    builds = list(walk_builds(BuildList.latest(store)))
    assert [row[0] for row in rows] == [build.commit.hex() for build in builds]
    for build, (_, result, seconds, ran) in zip(builds, rows, strict=True):
        facts = build.facts()
        assert (facts["result"], build.seconds(), facts["ran"]) == (result, seconds, str(ran))


def test_outcomes_lead_to_runs(store: Store) -> None:
    unmatched = answer(
        store,
        "select count(*) from outcomes left join runs using (task, task_hash, number)"
        " where outcome = 'ran' and run is null",
    )
    assert unmatched.rows == [(0,)]
    rows = answer(store, "select task, outcome, seconds from outcomes where build = 3").rows
    build = list(walk_builds(BuildList.latest(store)))[-3]
    happened = {key: text for key, text in build.happened().items() if text != Outcome.RESTORED}
    assert {row[0] for row in rows} == happened.keys()
    spans = {span.key: span.seconds for span in build.timeline()}
    assert {row[0]: row[2] for row in rows if row[2] is not None} == spans


def test_odd_facts_and_words_of_outcomes(store: Store) -> None:
    facts = {"result": "ok", "seconds": "nan", "ran": "many", "added": "9" * 30}
    happened = {TaskKey("a:go"): "cut off", TaskKey("b:go"): f"failed {'ab' * 20}"}
    record_build(store, [], happened, facts, author(5), reasons={TaskKey("a:go"): "x\udcff"[:1]})
    last = "(select max(build) from builds)"
    query = f"select seconds, ran, added, problem from builds where build = {last}"
    assert answer(store, query).rows == [(None, None, None, None)]
    query = f"select task, outcome, task_hash, reason from outcomes where build = {last}"
    assert answer(store, query).rows == [
        ("a:go", "skipped", None, "x"),
        ("b:go", "failed", "ab" * 20, None),
    ]
