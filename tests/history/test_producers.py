"""The task hash of an output, from the lists of builds and from refs."""

from __future__ import annotations

from dataclasses import replace

from prov.history.producers import Producers, failures, lines_with_failures, output_commits
from prov.records.ids import Unihash
from prov.records.keys import TaskKey
from prov.records.refs import OutputRef
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.history.recorded import Recorder
from tests.records.samples import output_id, task_hash

KEY = TaskKey("app:make")


def test_by_the_list_of_a_build(store: Store, recorder: Recorder) -> None:
    run = recorder.run(KEY, {"script": "1"}, {"app": "1"})
    build = recorder.build(run)
    store.refs.update(RefUpdate(str(OutputRef(KEY, run.line.task_hash)), None))
    producers = Producers(store, (build,))
    assert producers.hash_of(KEY, run.output) == run.line.task_hash
    assert producers.hash_of(TaskKey("app:other"), run.output) is None
    assert Producers(store).hash_of(KEY, run.output) is None


def test_by_refs(store: Store, recorder: Recorder) -> None:
    run = recorder.run(KEY, {"script": "1"}, {"app": "1"})
    producers = Producers(store)
    assert producers.hash_of(KEY, run.output) == run.line.task_hash
    assert producers.hash_of(KEY, output_id("nothing")) is None
    commit = store.refs.get(str(OutputRef(KEY, run.line.task_hash)))
    assert commit in set(output_commits(run.output))


def test_a_unihash_is_that_of_the_task_in_the_builds(store: Store, recorder: Recorder) -> None:
    run = recorder.run(KEY, {"script": "1"}, {"app": "1"})
    recorder.build(run)
    later = recorder.build(recorder.run("lib:make", {"script": "1"}, {"lib": "1"}))
    producers = Producers(store, (later,))
    assert producers.hash_of(KEY, Unihash(bytes(32))) == run.line.task_hash
    assert producers.hash_of(TaskKey("x:y"), Unihash(bytes(32))) is None
    assert Producers(store).hash_of(KEY, Unihash(bytes(32))) is None


def test_failures(recorder: Recorder) -> None:
    good = recorder.run(KEY, {"script": "1"}, {"app": "1"})
    bad = recorder.run("lib:make", {"script": "2"}, {}, failed=True)
    odd = {"x:a": "failed", "x:b": "failed 12", "x:c": f"ran {task_hash('c').hex()}"}
    build = recorder.build(good, bad, happened=odd)
    assert failures(build) == {"lib:make": bad.line}
    assert lines_with_failures(build) == {KEY: good.line, "lib:make": bad.line}


def test_a_task_that_failed_again_counts_as_failed(recorder: Recorder) -> None:
    good = recorder.run(KEY, {"script": "1"}, {"app": "1"})
    bad = recorder.run(KEY, {"script": "2"}, {}, failed=True)
    build = recorder.build(good, bad)
    assert lines_with_failures(build) == {KEY: replace(bad.line, run=0)}
