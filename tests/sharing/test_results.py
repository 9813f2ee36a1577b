"""Convert recorded results to publications, and fetched publications to recorded results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prov.records.build_list import BuildList, Line, record_build
from prov.records.ids import StaticKey
from prov.records.lookup import Records
from prov.records.output import FIXED_MESSAGE, OUTPUT_MESSAGE, UNSIGNED_MESSAGE
from prov.records.refs import OutputRef, RecordRef, RunRef, StaticRef
from prov.remote.publication import NO_KEY, Published
from prov.sharing.results import (
    Shareable,
    enter,
    holds,
    offer,
    place_id,
    public_record,
    recorded_results,
    results_of,
)
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.records.samples import APP, BY, COMPILE, output_id, static_key, task_hash
from tests.sharing.samples import FACTS, record_run


def offered(store: Store, result: Shareable, *, workdirs: bool = False) -> Published | str:
    """Return the offered publication of a result, or why it is not shared."""
    withheld: dict[str, str] = {}
    with store.objects.writer() as writer:
        found = offer(store, writer, [result], workdirs=workdirs, withheld=withheld)
    if found:
        assert withheld == {}
        return found[0]
    return withheld[result.key]


# choosing results


def test_all_recorded_results(store: Store) -> None:
    assert recorded_results(store) == []
    result, _ = record_run(store)
    assert recorded_results(store) == [result]


def test_results_of_a_build(store: Store) -> None:
    lines = [
        Line(COMPILE, task_hash("a"), output_id("a"), 1),
        Line(APP, task_hash("b"), None, 0),
    ]
    build = BuildList(store, record_build(store, lines, {}, {}, BY))
    assert results_of(build) == [Shareable(COMPILE, task_hash("a"))]


# publications


def test_the_publication_of_a_result(store: Store) -> None:
    result, ids = record_run(store)
    task = offered(store, result)
    assert isinstance(task, Published)
    assert (task.key, task.task_hash, task.output) == (COMPILE, result.task_hash, ids.output)
    assert (task.static_key, task.place, task.workdir) == (NO_KEY, "", b"")


def test_a_workdir_is_published_on_request(store: Store) -> None:
    result, ids = record_run(store)
    task = offered(store, result, workdirs=True)
    assert isinstance(task, Published)
    assert task.workdir == ids.commit


def test_the_static_key_is_the_recorded_one(store: Store) -> None:
    result, _ = record_run(store, facts={**FACTS, "static-key": static_key("x").hex()})
    task = offered(store, replace(result, static_key=StaticKey(b"k" * 20)))
    assert isinstance(task, Published)
    assert task.static_key == static_key("x")


def test_a_result_that_is_not_relocatable_has_a_place(store: Store) -> None:
    result, _ = record_run(store, fixed=b"WORKDIR /w\n")
    task = offered(store, result)
    assert isinstance(task, Published)
    assert task.place == place_id(b"WORKDIR /w\n")
    assert len(task.place) == 40
    assert place_id(b"") == ""


@pytest.mark.parametrize(
    ("facts", "message", "why"),
    [
        ({"incremental": "started from leftovers"}, "", "built from an earlier WORKDIR"),
        ({"aside": "7"}, "", "run in a scratch directory"),
        ({"result": "failed: exit status 1"}, "", "failed"),
        ({}, UNSIGNED_MESSAGE, "fetched from a remote without a signature"),
    ],
)
def test_why_a_result_is_not_shared(
    store: Store, facts: dict[str, str], message: str, why: str
) -> None:
    result, _ = record_run(store, facts={**FACTS, **facts}, message=message)
    words = offered(store, result)
    assert isinstance(words, str)
    assert words.startswith(why)


def test_a_deleted_output_is_not_shared(store: Store) -> None:
    result, _ = record_run(store)
    store.refs.update(RefUpdate(str(OutputRef(COMPILE, result.task_hash)), None))
    assert offered(store, result) == "its output is no longer in the store"


def test_a_result_without_a_run_is_not_shared(store: Store) -> None:
    result, _ = record_run(store)
    store.refs.update(RefUpdate(str(RunRef(COMPILE, result.task_hash, 1)), None))
    assert offered(store, result) == "the run that produced its output is no longer in the store"


def test_a_record_alone_is_enough(store: Store) -> None:
    result, ids = record_run(store)
    run = RunRef(COMPILE, result.task_hash, 1)
    store.refs.update(RefUpdate(str(run), None), RefUpdate(str(run.record), ids.record))
    task = offered(store, result, workdirs=True)
    assert isinstance(task, Published)
    assert task.workdir == b""  # the store does not have it


# records


def test_the_public_part_of_a_record(store: Store) -> None:
    _, ids = record_run(store)
    with store.objects.writer() as writer:
        tree = public_record(store, writer, ids.record)
    entries = {entry.name: entry.oid for entry in store.objects.tree(tree)}
    assert set(entries) == {b"definition", b"inputs", b"output", b"record"}
    lines = store.objects.blob(entries[b"record"]).decode().splitlines()
    facts = dict(line.split(" ", 1) for line in lines)
    assert set(facts) == {"task", "task-hash", "result", "seconds", "sandbox", "seen-workdir"}
    assert "secret" not in "".join(lines)


def test_a_local_path_is_not_published(store: Store) -> None:
    _, ids = record_run(store, facts={**FACTS, "sandbox": "none"})
    with store.objects.writer() as writer:
        tree = public_record(store, writer, ids.record)
    entry = store.objects.entry(tree, "record")
    assert entry is not None
    assert b"seen-workdir" not in store.objects.blob(entry.oid)


# fetched results


def received(store: Store, *, fixed: bytes = b"") -> Published:
    """Return a result with objects in the store, but without refs."""
    result, _ = record_run(store, fixed=fixed)
    task = offered(store, replace(result, static_key=static_key("x")))
    assert isinstance(task, Published)
    refs = [RunRef(COMPILE, result.task_hash, 1), OutputRef(COMPILE, result.task_hash)]
    store.refs.update(*(RefUpdate(str(ref), None) for ref in refs))
    return task


@pytest.mark.parametrize(
    ("fixed", "unsigned", "message"),
    [
        (b"", False, OUTPUT_MESSAGE),
        (b"/w\n", False, FIXED_MESSAGE),
        (b"", True, UNSIGNED_MESSAGE),
        (b"/w\n", True, UNSIGNED_MESSAGE),
    ],
)
def test_refs_of_a_fetched_result(
    store: Store, *, fixed: bytes, unsigned: bool, message: str
) -> None:
    task = received(store, fixed=fixed)
    assert not holds(store, task)
    enter(store, [task], unsigned=unsigned)
    assert holds(store, task)
    commit = store.refs.get(str(OutputRef(COMPILE, task.task_hash)))
    assert commit is not None
    assert store.objects.commit(commit).message == message
    assert store.refs.get(str(StaticRef(COMPILE, static_key("x")))) == commit
    record = store.refs.get(str(RecordRef(COMPILE, task.task_hash, 1)))
    assert record is not None
    assert store.objects.commit(record).tree == task.record
    assert Records(store).last_run(COMPILE, task.task_hash) == (1, None)


def test_recorded_results_are_unchanged(store: Store) -> None:
    result, ids = record_run(store)
    task = offered(store, result)
    assert isinstance(task, Published)
    before = store.refs.list("refs/")
    enter(store, [task], unsigned=True)
    assert store.refs.list("refs/") == before
    assert Records(store).last_run(COMPILE, result.task_hash) == (1, ids.commit)


def test_the_local_static_key_overrides_the_published_one(store: Store) -> None:
    task = received(store)
    enter(store, [task], {COMPILE: static_key("ours")})
    assert store.refs.get(str(StaticRef(COMPILE, static_key("ours")))) is not None
    assert store.refs.get(str(StaticRef(COMPILE, static_key("x")))) is None


def test_entering_no_results(store: Store) -> None:
    enter(store, [])
    assert store.refs.list("refs/") == {}
