"""Tests of looking up runs, outputs and WORKDIRs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prov.records.entries import LOG
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records, last_number, new_run
from prov.records.output import (
    FIXED_MESSAGE,
    OUTPUT_MESSAGE,
    UNSIGNED_MESSAGE,
    Output,
    write_output,
    write_output_commit,
)
from prov.records.refs import OutputRef, RecordRef, RunRef, StaticRef
from prov.records.run import write_run
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.records.samples import (
    BY,
    COMPILE,
    INSTALL,
    pair_of,
    sample_run,
    static_key,
    task_hash,
    tree_of,
)

HASH = task_hash("compile")
OTHER_HASH = task_hash("something else")


@pytest.fixture
def commit(store: Store) -> Oid:
    """Return a commit for refs."""
    with store.objects.writer() as writer:
        return write_run(writer, sample_run(writer), BY).commit


def create(store: Store, commit: Oid, *refs: RunRef | RecordRef | OutputRef | StaticRef) -> None:
    """Create refs in one transaction."""
    store.refs.update(*(RefUpdate(str(ref), commit, None) for ref in refs))


# numbers of runs


@pytest.mark.parametrize(
    ("tags", "records", "last"),
    [
        ([], [], 0),
        ([1], [], 1),
        ([], [1], 1),
        ([1, 2, 3], [], 3),
        ([2], [1], 2),
        ([1, 3], [2], 3),
        ([1], [1, 2], 2),
        ([1, 3], [], 1),
    ],
)
def test_tags_and_records_are_numbered_together(
    store: Store, commit: Oid, tags: list[int], records: list[int], last: int
) -> None:
    refs = [RunRef(COMPILE, HASH, number) for number in tags]
    create(store, commit, *refs, *(RecordRef(COMPILE, HASH, number) for number in records))
    assert last_number(store, COMPILE, HASH) == last
    update = new_run(store, COMPILE, HASH, commit)
    assert update == RefUpdate(str(RunRef(COMPILE, HASH, last + 1)), commit, None)


def test_other_tasks_and_hashes_are_not_counted(store: Store, commit: Oid) -> None:
    create(store, commit, RunRef(INSTALL, HASH, 1), RunRef(COMPILE, OTHER_HASH, 1))
    assert last_number(store, COMPILE, HASH) == 0


def test_failed_runs_are_numbered_separately(store: Store, commit: Oid) -> None:
    failures = [RunRef(COMPILE, HASH, number, failed=True) for number in (1, 2)]
    create(store, commit, RunRef(COMPILE, HASH, 1), *failures)
    assert last_number(store, COMPILE, HASH) == 1
    assert last_number(store, COMPILE, HASH, failed=True) == 2
    assert new_run(store, COMPILE, HASH, commit, failed=True).name == str(
        RunRef(COMPILE, HASH, 3, failed=True)
    )


def test_two_runs_do_not_get_one_number(store: Store, commit: Oid) -> None:
    updates = [new_run(store, COMPILE, HASH, commit) for _ in range(2)]
    assert updates[0] == updates[1]
    assert updates[0].old is None  # the second update fails and is retried


# the last run


def test_a_run_is_found_with_its_commit(store: Store, commit: Oid) -> None:
    create(store, commit, RunRef(COMPILE, HASH, 1), RunRef(COMPILE, HASH, 2))
    records = Records(store)
    assert records.last_run(COMPILE, HASH) == (2, commit)
    assert records.last_run(COMPILE, HASH, failed=True) == (0, None)
    assert records.last_run(COMPILE, OTHER_HASH) == (0, None)


def test_a_run_without_a_workdir_has_only_a_number(store: Store, commit: Oid) -> None:
    create(store, commit, RunRef(COMPILE, HASH, 1), RecordRef(COMPILE, HASH, 2))
    assert Records(store).last_run(COMPILE, HASH) == (2, None)


# outputs


def write_outputs(store: Store) -> dict[str, tuple[OutputId, CommitId]]:
    """Write an output; return its id and its commit."""
    with store.objects.writer() as writer:
        pair = pair_of(writer, {"a": "1"})
        plain, fixed = Output(pair), Output(pair, fixed=b"/work\n")
        kinds = {
            "plain": (plain, OUTPUT_MESSAGE),
            "fixed": (fixed, FIXED_MESSAGE),
            "unsigned": (plain, UNSIGNED_MESSAGE),
            "unsigned and fixed": (fixed, UNSIGNED_MESSAGE),
        }
        outputs = {}
        for name, (output, message) in kinds.items():
            oid = write_output(writer, output)
            outputs[name] = oid, write_output_commit(writer, oid, message)
    return outputs


def test_an_output_is_found_by_its_task_hash(store: Store) -> None:
    output, commit = write_outputs(store)["plain"]
    create(store, commit, OutputRef(COMPILE, HASH))
    records = Records(store)
    assert records.output(COMPILE, HASH) == output
    assert records.output(COMPILE, OTHER_HASH) is None
    assert records.output(INSTALL, HASH) is None


def test_an_output_is_found_by_its_static_key(store: Store) -> None:
    output, commit = write_outputs(store)["plain"]
    create(store, commit, StaticRef(COMPILE, static_key("compile")))
    records = Records(store)
    assert records.static_output(COMPILE, static_key("compile")) == output
    assert records.static_output(COMPILE, static_key("other")) is None


@pytest.mark.parametrize(
    ("kind", "place", "takes", "is_found"),
    [
        ("plain", b"/elsewhere\n", False, True),
        ("fixed", None, False, True),
        ("fixed", b"/work\n", False, True),
        ("fixed", b"/elsewhere\n", False, False),
        ("unsigned", b"/elsewhere\n", True, True),
        ("unsigned", b"/elsewhere\n", False, False),
        ("unsigned", None, False, False),
        ("unsigned and fixed", b"/work\n", True, True),
        ("unsigned and fixed", b"/work\n", False, False),
        ("unsigned and fixed", b"/elsewhere\n", True, False),
        ("unsigned and fixed", None, True, True),
    ],
)
def test_accepted_outputs(
    store: Store, *, kind: str, place: bytes | None, takes: bool, is_found: bool
) -> None:
    output, commit = write_outputs(store)[kind]
    create(store, commit, OutputRef(COMPILE, HASH))
    records = Records(store, None if place is None else lambda _key: place, lambda *_: takes)
    assert records.output(COMPILE, HASH) == (output if is_found else None)


def test_the_policy_receives_the_task_and_the_output(store: Store) -> None:
    output, commit = write_outputs(store)["unsigned"]
    create(store, commit, OutputRef(COMPILE, HASH))
    questions: list[tuple[TaskKey, OutputId]] = []

    def takes(key: TaskKey, oid: OutputId) -> bool:
        questions.append((key, oid))
        return True

    Records(store, takes=takes).output(COMPILE, HASH)
    assert questions == [(COMPILE, output)]


def test_a_new_ref_is_seen_at_once(store: Store) -> None:
    outputs = write_outputs(store)
    records = Records(store)
    assert records.output(COMPILE, HASH) is None
    create(store, outputs["plain"][1], OutputRef(COMPILE, HASH))
    assert records.output(COMPILE, HASH) == outputs["plain"][0]
    store.refs.update(RefUpdate(str(OutputRef(COMPILE, HASH)), outputs["fixed"][1]))
    assert records.output(COMPILE, HASH) == outputs["fixed"][0]


def test_records_know_no_remotes(store: Store, commit: Oid) -> None:
    create(store, commit, OutputRef(COMPILE, HASH))
    records = Records(store)
    assert not records.away(COMPILE, HASH)
    assert not records.workdir_away(COMPILE, HASH)
    assert records.static_away(COMPILE, static_key("compile")) is None


# WORKDIRs


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([], "its WORKDIR was never recorded here"),
        ([{"workdir": "/builds/zlib"}], "its WORKDIR was collected"),
        ([{"host": "there"}], "its WORKDIR stayed on the machine where it ran"),
        ([{"host": "there"}, {"workdir": "/builds/zlib"}], "its WORKDIR was collected"),
    ],
)
def test_why_a_workdir_is_missing(store: Store, facts: list[dict[str, str]], reason: str) -> None:
    updates = []
    with store.objects.writer() as writer:
        for number, lines in enumerate(facts, 1):
            run = replace(sample_run(writer), facts=lines)
            record = write_run(writer, run, BY).record
            updates.append(RefUpdate(str(RecordRef(COMPILE, HASH, number)), record, None))
    if updates:
        store.refs.update(*updates)
    assert Records(store).why_no_workdir(COMPILE, HASH) == reason


def test_a_task_commit_is_read(store: Store) -> None:
    with store.objects.writer() as writer:
        run = sample_run(writer)
        commit = write_run(writer, run, BY).commit
    records = Records(store)
    assert records.workdir(commit) == run.after
    assert records.record(commit).task_hash == run.task_hash
    assert records.facts(commit)["host"] == "here"
    assert records.text(commit, LOG) == b"compiled\n"
    assert records.text(commit, b"nothing") == b""


def test_a_hash_of_a_stored_tree(store: Store) -> None:
    with store.objects.writer() as writer:
        oid = TaskHash(tree_of(writer, {"script": "make\n"}))
        commit = write_run(writer, sample_run(writer), BY).commit
    create(store, commit, RunRef(COMPILE, oid, 1))
    assert Records(store).last_run(COMPILE, oid) == (1, commit)
