"""Why a task ran, as recorded by builds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from prov.errors import Elsewhere, NameUnknown
from prov.history.builds import short_id
from prov.history.inputs import read_inputs
from prov.history.why import Why, nearest_recorded, why
from prov.records.build_list import BuildList
from prov.records.refs import RunRef
from prov.store.repository import Store
from tests.history.recorded import Recorded, Recorder
from tests.records.samples import task_hash


def made(
    recorder: Recorder, script: str, key: str = "app:make", *, failed: bool = False
) -> Recorded:
    inputs = {"script": script, "environment": "x"}
    return recorder.run(key, inputs, {"app": script}, failed=failed)


def titles(answer: Why) -> list[str]:
    return [change.title for cause in answer.causes for change in cause.changes]


def name_of(build: BuildList) -> str:
    return f"build {short_id(build.commit)}"


def test_a_task_that_changed(store: Store, recorder: Recorder) -> None:
    old = recorder.build(made(recorder, "1\n"), versions={"app": "1"})
    new = recorder.build(made(recorder, "2\n"), happened={"app:make": "ran"}, versions={"app": "2"})
    answer = why(store, "app:make")
    assert answer.verdict == f"ran in {name_of(new)}"
    assert answer.old == name_of(old)
    assert titles(answer) == ["script"]
    assert answer.versions == {"app": ("1", "2")}
    assert list(answer.differences.values()) == [("@@ -1 +1 @@", "-1", "+2")]
    assert answer.nearest is None


def test_a_task_that_is_from_an_earlier_build(store: Store, recorder: Recorder) -> None:
    recorder.build(made(recorder, "1"))
    run = made(recorder, "2")
    first = recorder.build(run, happened={"app:make": "ran"})
    recorder.build(run)
    assert why(store, "app:make").verdict == f"ran in {name_of(first)}"
    again = recorder.build(
        run, happened={"app:make": "ran"}, reasons={"app:make": "its output was gone"}
    )
    verdict = f"ran in {name_of(again)} with the inputs of {name_of(first)}: its output was gone"
    answer = why(store, "app:make")
    assert (answer.verdict, answer.causes) == (verdict, ())


def test_a_named_build(store: Store, recorder: Recorder) -> None:
    builds = [recorder.build(made(recorder, text)) for text in ("1", "2", "3")]
    named = why(store, "latest~1/app:make")
    assert (named.verdict, named.old) == (
        f"was up to date in {name_of(builds[1])}",
        name_of(builds[0]),
    )
    assert why(store, "app:make", build="latest~1") == named
    against = why(store, "app:make", against="latest~2")
    assert against.old == name_of(builds[0])


def test_the_first_build_has_no_reference(store: Store, recorder: Recorder) -> None:
    other = made(recorder, "1")
    build = recorder.build(made(recorder, "2"), happened={"app:make": "ran"})
    answer = why(store, "app:make")
    assert (answer.verdict, answer.old) == (f"ran in {name_of(build)}", "")
    assert answer.nearest is not None
    assert answer.nearest.task_hash == other.line.task_hash
    assert [change.kind for change in answer.nearest.own] == ["script"]


def test_a_failed_task(store: Store, recorder: Recorder) -> None:
    recorder.build(made(recorder, "1"))
    build = recorder.build(made(recorder, "2", failed=True))
    answer = why(store, "app:make")
    assert answer.verdict == f"failed in {name_of(build)}"
    assert titles(answer) == ["script"]


def test_a_tag(store: Store, recorder: Recorder) -> None:
    old, new = made(recorder, "1"), made(recorder, "2")
    recorder.build(old)
    tags = [RunRef(run.line.key, run.line.task_hash, 1).tag for run in (old, new)]
    assert why(store, tags[1]).old == ""
    answer = why(store, tags[1], against=tags[0])
    assert (answer.verdict, answer.old) == ("ran", f"run {tags[0]}")
    assert titles(answer) == ["script"]


def test_a_recipe_without_a_task(store: Store, recorder: Recorder) -> None:
    recorder.build(made(recorder, "1"))
    with pytest.raises(NameUnknown) as caught:
        why(store, "app")
    assert caught.value.hint == "use RECIPE:TASK, such as app:make"


def test_another_store(store: Store, recorder: Recorder, tmp_path: Path) -> None:
    theirs = Recorder(Store.create(tmp_path / "project/.prov"))
    build = theirs.build(made(theirs, "1"))
    recorder.build(made(recorder, "2"))
    for folder in (tmp_path / "project", tmp_path / "project/.prov"):
        answer = why(store, "app:make", against=str(folder))
        assert answer.old == f"{name_of(build)} of {folder}"
        assert titles(answer) == ["script"]
    with pytest.raises(NameUnknown, match="no build in this store has a task lib:make"):
        recorder.build(made(recorder, "3", "lib:make"))
        why(store, "lib:make", against=str(tmp_path / "project"))


@pytest.mark.parametrize(
    ("name", "against", "problem"),
    [
        ("app:mke", "", "no build has a task app:mke"),
        ("app:make", "none", "no build is named none"),
        ("app:make", "latest", "build latest has no task app:make"),
        ("app:make", "lib:make", "expected a run of app:make, not of lib:make"),
    ],
)
def test_unknown_names(
    store: Store, recorder: Recorder, name: str, against: str, problem: str
) -> None:
    recorder.build(made(recorder, "1"))
    recorder.build(made(recorder, "1", "lib:make"))
    with pytest.raises(NameUnknown, match=re.escape(problem)):
        why(store, name, against=against)


def test_missing_inputs(store: Store, recorder: Recorder) -> None:
    run = made(recorder, "1")
    away = replace(run, line=replace(run.line, task_hash=task_hash("away")))
    recorder.build(away)
    with pytest.raises(
        Elsewhere, match=r"the inputs of app:make in build \w+ are not in this store"
    ):
        why(store, "app:make")
    build = recorder.build(run, happened={"app:make": "ran"})
    verdict = why(store, "app:make").verdict
    assert verdict.startswith(f"ran in {name_of(build)}; the inputs of app:make in build ")


def test_the_nearest_is_nearer_than_the_old_one(store: Store, recorder: Recorder) -> None:
    def run(**texts: str) -> Recorded:
        return recorder.run("app:make", {"script": "0", "task": "0", **texts}, {"app": "1"})

    far, near, new = run(script="1", task="1", capture="1"), run(script="2"), run(script="3")
    states = {
        one.line.task_hash: read_inputs(store.objects, one.line.key, one.line.task_hash)
        for one in (far, near, new)
    }
    inputs = states[new.line.task_hash]
    found = nearest_recorded(store, store.objects, inputs, states[far.line.task_hash])
    assert found is not None and found.task_hash == near.line.task_hash
    assert nearest_recorded(store, store.objects, inputs, states[near.line.task_hash]) is None
