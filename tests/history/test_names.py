"""Runs by what users call them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prov.errors import Elsewhere, NameUnknown
from prov.history.builds import short_id
from prov.history.names import (
    RunName,
    builds_of,
    find_run,
    last_run,
    newest,
    record_elsewhere,
    recorded_tasks,
    run_in,
    runs,
)
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.record import record_of
from prov.records.refs import OutputRef, RecordRef, RunRef
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.history.recorded import BEGAN, Recorded, Recorder
from tests.records.samples import task_hash

KEY = TaskKey("app:make")


def made(recorder: Recorder, text: str = "1", key: str = KEY, *, failed: bool = False) -> Recorded:
    return recorder.run(key, {"script": text}, {"app": text}, failed=failed)


def ref_of(run: Recorded) -> RunRef:
    line = run.line
    return RunRef(line.key, line.task_hash, line.run or 1, line.output is None)


def test_a_name_has_what_its_ref_says() -> None:
    ref = RunRef(KEY, task_hash("x"), 3)
    name = RunName(ref, CommitId(bytes(20)), BEGAN)
    assert name.tag == f"app/make/{task_hash('x').hex()}/3"
    assert (name.key, name.number, name.failed) == (KEY, 3, False)
    assert RunName(ref.record, name.commit, BEGAN).tag == f"record/{name.tag}"
    failed = RunName(RunRef(KEY, task_hash("x"), 1, True), name.commit, BEGAN)
    assert failed.tag.startswith("failed/app/make/") and failed.failed
    assert name.table() == {
        "tag": name.tag,
        "commit": "00" * 20,
        "recipe": "app",
        "task": "app:make",
        "task_hash": task_hash("x").hex(),
        "number": 3,
        "failed": False,
        "time": BEGAN,
    }


def test_runs_are_listed_newest_first(store: Store, recorder: Recorder) -> None:
    first, second = made(recorder), made(recorder, "2")
    failed = made(recorder, "3", failed=True)
    other = made(recorder, key="lib:make")
    commits = [run.commit for run in runs(store)]
    assert commits == [other.commit, failed.commit, second.commit, first.commit]
    assert [run.commit for run in runs(store, "app", "make")] == commits[1:]
    assert [run.commit for run in runs(store, "lib")] == commits[:1]
    assert runs(store, "app", "install") == []


def test_refs_that_are_not_runs_are_not_listed(store: Store, recorder: Recorder) -> None:
    run = made(recorder)
    digits = run.line.task_hash.hex()
    for name in ("v1", "outside/native/app/build/1", f"a\u2028b/make/{digits}/1", "a/b/c/1"):
        store.refs.update(RefUpdate(f"refs/tags/{name}", run.commit))
    with store.objects.writer() as writer:
        blob = writer.add("blob", b"1")
    store.refs.update(RefUpdate(f"refs/tags/a/b/{digits}/1", blob))
    assert [name.commit for name in runs(store)] == [run.commit]


def test_runs_that_ended_in_one_second_are_sorted_by_their_begin(
    store: Store, recorder: Recorder
) -> None:
    commits = []
    for number, began in enumerate(["5.5", "7.5", "x", "6.5"]):
        recorder.seconds = BEGAN
        run = recorder.run(
            KEY, {"script": f"{number}"}, {"app": f"{number}"}, facts={"began": began}
        )
        commits.append(run.commit)
    listed = runs(store)
    assert [run.commit for run in newest(store, listed, 3)] == [commits[n] for n in (1, 3, 0)]
    assert newest(store, [], 3) == []


def test_builds_of_runs(store: Store, recorder: Recorder) -> None:
    first = made(recorder)
    old = recorder.build(first)
    second, failed = made(recorder, "2"), made(recorder, "3", key="lib:make", failed=True)
    new = recorder.build(second, failed)
    apart = made(recorder, "4")
    builds = {tag: build.commit for tag, build in builds_of(store, runs(store)).items()}
    assert builds == {
        ref_of(first).tag: old.commit,
        ref_of(second).tag: new.commit,
        ref_of(failed).tag: new.commit,
    }
    assert ref_of(apart).tag not in builds


def test_names_of_runs(store: Store, recorder: Recorder) -> None:
    first = made(recorder)
    old = recorder.build(first)
    second = made(recorder, "2")
    new = recorder.build(second)
    names = {
        "app:make": second,
        "latest/app:make": second,
        "latest~1/app:make": first,
        f"{short_id(old.commit)}/app:make": first,
        ref_of(first).tag: first,
        str(ref_of(second)): second,
    }
    assert {name: find_run(store, name).commit for name in names} == {
        name: run.commit for name, run in names.items()
    }
    assert run_in(new, KEY).ref == ref_of(second)
    assert recorded_tasks(store) == [KEY]


def test_a_run_of_a_bisection_is_not_the_last_one(store: Store, recorder: Recorder) -> None:
    run = made(recorder)
    recorder.run(KEY, {"script": "2"}, {"app": "2"}, facts={"aside": "bisection"})
    assert last_run(store, KEY).commit == run.commit


def test_a_failed_run_of_a_build(recorder: Recorder) -> None:
    good = made(recorder)
    failed = made(recorder, "2", failed=True)
    run = run_in(recorder.build(good, failed), KEY)
    assert (run.commit, run.failed) == (failed.commit, True)


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("app:mke", "no run of app:mke is recorded", "did you mean app:make?"),
        ("lib:", "lib: is not a task", "write recipe:task"),
        ("app", "app is not a run", "write recipe:task, or a tag"),
        ("latest/app:mke", "has no task app:mke", "did you mean app:make?"),
        ("none/app:make", "no build is named none", "run `prov builds` to list builds"),
        (f"app/make/{'0' * 40}/1", "is not a run", "write recipe:task, or a tag"),
        (f"app/make/{'0' * 40}/0", "is not a run", "write recipe:task, or a tag"),
    ],
)
def test_unknown_names(
    store: Store, recorder: Recorder, name: str, problem: str, hint: str
) -> None:
    recorder.build(made(recorder))
    with pytest.raises(NameUnknown) as error:
        find_run(store, name)
    assert problem in str(error.value)
    assert error.value.hint == hint


Question = Callable[[Store], RunName]


@pytest.mark.parametrize(
    "question",
    [lambda store: find_run(store, "latest/app:make"), lambda store: last_run(store, KEY)],
    ids=["in a build", "the last one"],
)
def test_a_run_elsewhere_may_have_its_record_here(
    store: Store, recorder: Recorder, question: Question
) -> None:
    run = made(recorder)
    recorder.build(run)
    store.refs.update(RefUpdate(str(ref_of(run)), None))
    with pytest.raises(Elsewhere, match="it ran on another machine, or was deleted") as error:
        question(store)
    with pytest.raises(Elsewhere):
        record_elsewhere(store, error.value)
    record = record_of(store.objects, run.commit)
    for number in (2, 11):
        store.refs.update(RefUpdate(str(RecordRef(KEY, run.line.task_hash, number)), record))
    found = record_elsewhere(store, error.value)
    assert (found.number, found.commit, found.failed) == (11, record, False)


def test_a_collected_run_says_when(store: Store, recorder: Recorder) -> None:
    run = made(recorder)
    build = recorder.build(run)
    gone: dict[str, Oid | None] = {str(ref_of(run)): None}
    store.refs.update(*(RefUpdate(name, oid) for name, oid in gone.items()))
    (store.path / "pruned").write_text(f"{BEGAN}\tage\t{ref_of(run)}\n")
    with pytest.raises(NameUnknown, match="was deleted") as error:
        run_in(build, KEY)
    assert error.value.hint.startswith("`prov gc` deleted it on ")
    assert error.value.hint.endswith(" by rule age")
    with pytest.raises(NameUnknown) as error:
        find_run(store, ref_of(run).tag)
    assert error.value.hint.endswith(" by rule age")


def test_an_output_that_stayed_names_no_run(store: Store, recorder: Recorder) -> None:
    run = made(recorder)
    assert store.refs.get(str(OutputRef(KEY, run.line.task_hash))) is not None
    store.refs.update(RefUpdate(str(ref_of(run)), None))
    with pytest.raises(NameUnknown, match="no run of app:make is recorded"):
        last_run(store, KEY)


def test_an_earlier_run_is_counted_from_any_name_of_a_run(store: Store, recorder: Recorder) -> None:
    runs_of_app = [made(recorder, str(number)) for number in range(3)]
    made(recorder, key="lib:make")
    commits = [run.commit for run in runs_of_app]
    for name, index in {"app:make~0": 2, "app:make~": 1, "app:make^": 1, "app:make~2": 0}.items():
        assert find_run(store, name).commit == commits[index], name
    with pytest.raises(NameUnknown, match=r"app:make~3: 2 runs of app:make before app/make/"):
        find_run(store, "app:make~3")
