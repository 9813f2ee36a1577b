"""Differing outputs of one task hash among the runs of a store."""

from __future__ import annotations

import pytest

from prov.records.refs import RunRef
from prov.replay.differing_outputs import Differing, outputs_here
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.history.recorded import Recorder
from tests.records.samples import COMPILE, output_id, task_hash


@pytest.fixture
def recorder(store: Store) -> Recorder:
    return Recorder(store)


def test_outputs_of_runs_here(store: Store, recorder: Recorder) -> None:
    runs = [recorder.run("app:make", {"script": "date"}, {"app": text}) for text in "121"]
    recorder.run("app:make", {"script": "false"}, {}, failed=True)
    store.refs.update(RefUpdate("refs/tags/mine", runs[0].commit))
    hashes = outputs_here(store)
    assert list(hashes) == [runs[0].line.task_hash]
    here = hashes[runs[0].line.task_hash]
    tags = [RunRef(here.key, runs[0].line.task_hash, number).tag for number in (1, 2)]
    assert here.key == "app:make"
    assert here.runs == {runs[0].output: tags[0], runs[1].output: tags[1]}


def test_a_record_alone_counts(store: Store, recorder: Recorder) -> None:
    run = recorder.run("app:make", {"script": "date"}, {"app": "1"})
    ref = RunRef(run.line.key, run.line.task_hash, 1)
    record = store.objects.commit(run.commit).parents[1]
    store.refs.update(RefUpdate(str(ref), None), RefUpdate(str(ref.record), record))
    assert outputs_here(store)[run.line.task_hash].runs == {run.output: ref.tag}


def test_an_output_is_added_once() -> None:
    differing = Differing(COMPILE, task_hash("x"))
    for name, where in (("1", "a"), ("2", "b"), ("1", "c")):
        differing.add(output_id(name), where)
    assert differing.outputs == [output_id("1"), output_id("2")]
    assert differing.where == ["a", "b"]
