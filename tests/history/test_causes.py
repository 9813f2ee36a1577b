"""Root causes: down the graph of a task, and between two builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from prov.history.causes import (
    SAME_INPUTS,
    BuildDifference,
    CauseGroup,
    RecordedSide,
    TaskDifference,
    build_difference,
    changed_versions,
    first_causes,
    group_causes,
)
from prov.history.inputs import Change, Edge, read_inputs
from prov.history.producers import Producers
from prov.records.build_list import BuildList
from prov.records.ids import TaskHash, Unihash
from prov.records.keys import TaskKey
from prov.store.repository import Store
from tests.history.recorded import Recorded, Recorder
from tests.records.samples import oid, task_hash


def difference(store: Store, old: BuildList, new: BuildList) -> BuildDifference:
    return build_difference(store.objects, old, new)


def causes(store: Store, old: Recorded, new: Recorded) -> list[tuple[str, list[str], str]]:
    """Return key, titles of changes and chain of each root cause."""
    side = RecordedSide(store.objects, Producers(store))
    states = [read_inputs(store.objects, one.line.key, one.line.task_hash) for one in (old, new)]
    return [
        (cause.key, [change.title for change in cause.changes], " ".join(cause.chain))
        for cause in first_causes(store.objects, states[0], states[1], (side, side))
    ]


def chain(
    recorder: Recorder, source: str, library: str = "make", *, keep: str = ""
) -> tuple[Recorded, Recorded, Recorded]:
    """Record lib:unpack, lib:make after it, and app:make, which needs its output."""
    unpack = recorder.run("lib:unpack", {"source": source}, {"lib.c": source})
    make = recorder.run(
        "lib:make",
        {"script": library},
        {"lib.o": keep or f"{source}{library}"},
        edges={"after": {"unpack": unpack.line.task_hash.hex()}},
        before=unpack,
    )
    app = recorder.run(
        "app:make",
        {"script": "link"},
        {"app": "1"},
        edges={"needs": {"lib:make": make.output.hex()}},
    )
    return unpack, make, app


def test_a_change_is_found_down_the_graph(store: Store, recorder: Recorder) -> None:
    old, new = chain(recorder, "1"), chain(recorder, "2")
    found = causes(store, old[2], new[2])
    assert found == [("lib:unpack", ["source"], "lib:unpack lib:make app:make")]


def test_the_nearest_cause_comes_first(store: Store, recorder: Recorder) -> None:
    old, new = chain(recorder, "1"), chain(recorder, "2", "make -O2")
    keys = [key for key, _, _ in causes(store, old[2], new[2])]
    assert keys == ["lib:make", "lib:unpack"]


def test_what_is_not_recorded_ends_a_chain(store: Store, recorder: Recorder) -> None:
    runs = [
        recorder.run("app:make", {}, {"a": "1"}, edges={"needs": {"gone:make": digit * 40}})
        for digit in "12"
    ]
    assert causes(store, runs[0], runs[1]) == [("gone:make", [], "gone:make app:make")]


def test_a_different_output_from_the_same_inputs_is_a_cause(
    store: Store, recorder: Recorder
) -> None:
    runs = [recorder.run("lib:make", {"script": "date"}, {"lib.o": text}) for text in "12"]
    users = [
        recorder.run("app:make", {}, {"a": "1"}, edges={"needs": {"lib:make": run.output.hex()}})
        for run in runs
    ]
    sides = [RecordedSide(store.objects, Producers(store, (recorder.build(run),))) for run in runs]
    states = [read_inputs(store.objects, user.line.key, user.line.task_hash) for user in users]
    found = first_causes(store.objects, states[0], states[1], (sides[0], sides[1]))
    assert [(cause.key, cause.changes[0].kind) for cause in found] == [("lib:make", SAME_INPUTS)]


def test_edges_of_bitbake_lead_by_unihash(store: Store, recorder: Recorder) -> None:
    run = recorder.run("lib:do_unpack", {"script": "1"}, {"lib.c": "1"})
    side = RecordedSide(store.objects, Producers(store, (recorder.build(run),)))
    for kind in ("after", "needs"):
        edge = Edge(kind, TaskKey("lib:do_unpack"))
        inputs = side.behind(edge, Unihash(bytes(32)))
        assert inputs is not None
        assert inputs.task_hash == run.line.task_hash


@pytest.mark.parametrize("id", [None, TaskHash(oid("nothing"))])
def test_an_edge_without_a_record(store: Store, id: TaskHash | None) -> None:
    side = RecordedSide(store.objects, Producers(store))
    for kind in ("after", "from", "needs"):
        assert side.behind(Edge(kind, TaskKey("lib:x")), id) is None


# between builds


def test_builds_differ_by_root_causes_and_what_followed(store: Store, recorder: Recorder) -> None:
    old = recorder.build(*chain(recorder, "1"), versions={"lib": "1", "app": "1"})
    new = recorder.build(*chain(recorder, "2"), versions={"lib": "2", "app": "1"})
    found = difference(store, old, new)
    assert [(group.title, group.tasks) for group in found.causes] == [("source", ("lib:unpack",))]
    assert found.followed == ["app:make", "lib:make"]
    assert found.versions == {"lib": ("1", "2")}
    assert (found.added, found.removed) == ((), ())
    assert difference(store, new, new).tasks == ()


def test_an_unchanged_output_stops_the_difference(store: Store, recorder: Recorder) -> None:
    old = recorder.build(*chain(recorder, "1", keep="same"))
    new = recorder.build(*chain(recorder, "2", keep="same"))
    found = difference(store, old, new)
    assert [task.key for task in found.tasks] == ["lib:make", "lib:unpack"]


def test_recipes_are_added_and_removed_if_builds_are_whole(
    store: Store, recorder: Recorder
) -> None:
    run = {name: recorder.run(f"{name}:make", {"script": name}, {name: ""}) for name in "abc"}
    one, other = recorder.build(run["a"], run["b"]), recorder.build(run["b"], run["c"])
    found = difference(store, one, other)
    assert (found.added, found.removed) == (("c",), ("a",))
    partial = recorder.build(run["b"], run["c"], facts={"result": "failed"})
    assert difference(store, one, partial).removed == ()


def test_a_failed_task_is_a_difference(store: Store, recorder: Recorder) -> None:
    good = recorder.run("app:make", {"script": "1"}, {"app": "1"})
    bad = recorder.run("app:make", {"script": "1"}, {}, failed=True)
    other = recorder.run("app:make", {"script": "2"}, {}, failed=True)
    old, new, changed = recorder.build(good), recorder.build(bad), recorder.build(other)
    same = difference(store, old, new).causes
    assert [group.title for group in same] == [
        "app:make produced a different output from identical inputs"
    ]
    assert [group.title for group in difference(store, old, changed).causes] == ["script"]


def test_changes_of_tasks_without_inputs_are_unknown(store: Store, recorder: Recorder) -> None:
    run = recorder.run("app:make", {"script": "1"}, {"app": "1"})
    elsewhere = replace(run, line=replace(run.line, task_hash=task_hash("elsewhere")))
    found = difference(store, recorder.build(run), recorder.build(elsewhere))
    assert [(task.key, task.own) for task in found.tasks] == [("app:make", ())]
    assert found.followed == ["app:make"]


def task(key: str, *changes: Change) -> TaskDifference:
    return TaskDifference(TaskKey(key), None, None, changes)


def test_tasks_with_a_change_in_common_are_a_group() -> None:
    common, own = Change("variable", "CC", None, None), Change("script", "", None, None)
    same = Change(SAME_INPUTS, "", None, None)
    tasks = [task("a:x", common), task("b:x", own, common), task("c:x", same), task("d:x", same)]
    assert group_causes(tasks) == (
        CauseGroup(common, (TaskKey("a:x"), TaskKey("b:x"))),
        CauseGroup(own, (TaskKey("b:x"),)),
        CauseGroup(same, (TaskKey("c:x"),)),
        CauseGroup(same, (TaskKey("d:x"),)),
    )


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({}, {}, {}),
        ({"a": "1"}, {"a": "1"}, {}),
        ({"a": "1"}, {"b": "1"}, {}),
        ({"b": "1", "a": "1"}, {"a": "2", "b": "2"}, {"a": ("1", "2"), "b": ("1", "2")}),
    ],
)
def test_changed_versions(
    before: Mapping[str, str],
    after: Mapping[str, str],
    changed: Mapping[str, tuple[str, str]],
) -> None:
    assert changed_versions(before, after) == changed
