"""When and by which rule a result was collected."""

from __future__ import annotations

import pytest

from prov.history.collected import inputs_collected, run_collected, when_collected
from prov.records.keys import TaskKey
from prov.records.refs import OutputRef, RunRef
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.history.recorded import BEGAN
from tests.records.samples import task_hash

RUN = RunRef(TaskKey("app:make"), task_hash("x"), 2)
FAILED = RunRef(RUN.key, RUN.task_hash, 2, True)
FIRST = RunRef(RUN.key, RUN.task_hash, 1)


def collect(store: Store, *names: str) -> None:
    rows = [f"{BEGAN + number}\trule-{number}\t{name}\n" for number, name in enumerate(names)]
    (store.path / "pruned").write_text("".join(rows))


def test_nothing_was_collected(store: Store) -> None:
    assert when_collected(store, "refs/tags/x") == ""
    assert run_collected(store, RUN) == ""
    assert inputs_collected(store, RUN.key, RUN.task_hash) == ""


def test_the_first_ref_that_was_collected_counts(store: Store) -> None:
    collect(store, "refs/a", "refs/b")
    assert when_collected(store, "refs/none", "refs/b", "refs/a").endswith("by rule rule-1")


@pytest.mark.parametrize("ref", [RUN, FAILED])
def test_a_deleted_run_or_failed_run(store: Store, ref: RunRef) -> None:
    collect(store, str(ref))
    assert run_collected(store, RUN) == run_collected(store, FAILED) != ""


def test_where_the_record_is(store: Store) -> None:
    collect(store, str(RUN))
    with store.objects.writer() as writer:
        record = writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, "record\n"))
    store.refs.update(RefUpdate(str(RUN.record), record))
    assert run_collected(store, RUN).endswith(f"rule-0; its record remains at {RUN.record}")


@pytest.mark.parametrize("ref", [FIRST, OutputRef(RUN.key, RUN.task_hash)])
def test_inputs(store: Store, ref: RunRef | OutputRef) -> None:
    collect(store, str(ref))
    assert inputs_collected(store, RUN.key, RUN.task_hash).startswith("`prov gc` deleted it on ")
