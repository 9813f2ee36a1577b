"""Tests of writing runs: task commits and records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.output import FIXED_MESSAGE, OUTPUT_MESSAGE, Output, read_pair, write_output
from prov.records.record import read_record, read_task_commit, read_workdir
from prov.records.run import (
    Run,
    Start,
    author,
    empty_start,
    write_run,
    write_workdir,
)
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Entry,
    Oid,
)
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair
from tests.records.samples import BY, COMPILE, failed, oid, pair_of, sample_run, tree_of

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
tables = st.dictionaries(st.from_regex(r"\A[a-z]{1,6}\Z"), texts, max_size=4)


def entries_of(writer: ObjectWriter, run: Run) -> dict[bytes, Entry]:
    """Return the entries of a run's record."""
    record = write_run(writer, run, BY).record
    return {entry.name: entry for entry in writer.tree(writer.commit(record).tree)}


def test_the_start_of_a_task_without_predecessors_is_constant(writer: ObjectWriter) -> None:
    start = empty_start(writer)
    commit = writer.commit(start.commit)
    assert start.pair == EMPTY
    assert (commit.tree, commit.parents) == (EMPTY_TREE, ())
    assert (commit.author, commit.message) == (CONSTANT_IDENTITY, "nothing\n")
    assert empty_start(writer) == start


@pytest.mark.parametrize(
    ("seconds", "recorded"), [(0.0, 0), (1.9, 1), (1_700_000_000.5, 17 * 10**8)]
)
def test_the_author_is_prov_at_whole_seconds(seconds: float, recorded: int) -> None:
    assert author(seconds).encode() == f"prov <prov@localhost> {recorded} +0000".encode()


def test_a_task_commit_has_the_workdir_and_its_start(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, run, BY)
    commit = writer.commit(ids.commit)
    assert commit.tree == run.after.tree
    assert commit.parents == (run.start.commit, ids.record)
    assert commit.author == BY
    assert commit.message == f"zlib:compile\n\nTask-Hash: {run.task_hash.hex()}\n"
    parts = read_task_commit(writer, ids.commit)
    assert (parts.before, parts.record) == (run.start.commit, ids.record)


def test_a_record_has_no_parents(writer: ObjectWriter) -> None:
    record = writer.commit(write_run(writer, sample_run(writer), BY).record)
    assert (record.parents, record.author) == ((), BY)
    assert record.message == "record of zlib:compile\n"


def test_the_output_has_a_commit_of_its_own(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, run, BY)
    commit = writer.commit(ids.output_commit)
    assert (commit.tree, commit.message) == (ids.output, OUTPUT_MESSAGE)
    assert read_pair(writer, ids.output) == run.after


def test_an_output_that_is_not_relocatable(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, replace(run, output=Output(run.after, fixed=b"/work\n")), BY)
    assert writer.commit(ids.output_commit).message == FIXED_MESSAGE


def test_a_failed_run_has_no_output(writer: ObjectWriter) -> None:
    run = failed(sample_run(writer))
    ids = write_run(writer, run, BY)
    subject = writer.commit(ids.commit).message.partition("\n")[0]
    assert subject == "zlib:compile (failed)"
    assert b"output" not in entries_of(writer, run)
    assert ids.output == write_output(writer, Output(EMPTY))


def test_entries_of_a_minimal_record(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    entries = entries_of(writer, run)
    assert sorted(entries) == [b"environment", b"inputs", b"log", b"output", b"record"]
    assert entries[b"inputs"] == Entry(b"inputs", MODE_DIRECTORY, run.task_hash)
    assert writer.blob(entries[b"log"].oid) == b"compiled\n"
    assert writer.blob(entries[b"environment"].oid) == b"CC=cc\nLANG=C\n"
    facts = writer.blob(entries[b"record"].oid).decode()
    assert facts == f"task zlib:compile\ntask-hash {run.task_hash.hex()}\nseconds 1.5\nhost here\n"


def test_optional_entries(writer: ObjectWriter) -> None:
    sysroot = pair_of(writer, {"zlib.h": "header"}, {"%attributes": "zlib.h\tmode=0444\n"})
    run = replace(
        sample_run(writer),
        after=pair_of(writer, {"a": "1"}, {"%attributes": "a\tmtime=1.000000000\n"}),
        definition=b"{}",
        sysroots={"target": sysroot, "native": EMPTY},
    )
    entries = entries_of(writer, run)
    assert {b"attributes", b"definition", b"sysroot"} <= entries.keys()
    assert entries[b"attributes"].oid == run.after.attributes
    assert writer.blob(entries[b"definition"].oid) == b"{}"
    sysroots = {entry.name: entry.oid for entry in writer.tree(entries[b"sysroot"].oid)}
    assert read_pair(writer, sysroots[b"target"]) == sysroot
    assert read_pair(writer, sysroots[b"native"]) == EMPTY


def test_extra_entries(writer: ObjectWriter) -> None:
    dated = pair_of(writer, {"b": "2"})
    tree = tree_of(writer, {"c": "3"})
    extra: dict[str, Pair | Oid | str] = {
        "dated": dated,
        "pkgdata": tree,
        "script": "do_compile() {\n}\n\udcff",
    }
    entries = entries_of(writer, replace(sample_run(writer), extra=extra))
    assert read_pair(writer, entries[b"dated"].oid) == dated
    assert entries[b"pkgdata"] == Entry(b"pkgdata", MODE_DIRECTORY, tree)
    assert entries[b"script"].mode == MODE_FILE
    assert writer.blob(entries[b"script"].oid) == b"do_compile() {\n}\n\xff"


@given(tables, tables, st.binary(max_size=20), st.binary(max_size=8))
def test_any_run_is_read_back(
    writer: ObjectWriter,
    facts: dict[str, str],
    environment: dict[str, str],
    log: bytes,
    definition: bytes,
) -> None:
    run = replace(
        sample_run(writer), facts=facts, environment=environment, log=log, definition=definition
    )
    record = read_record(writer, write_run(writer, run, BY).record)
    assert record.environment(writer) == environment
    assert (record.log(writer), record.definition(writer)) == (log, definition)
    own = {"task": "zlib:compile", "task-hash": run.task_hash.hex()}
    assert record.facts(writer) == {**own, **facts}
    assert record.task_hash == run.task_hash
    assert record.is_recipes == bool(definition)


def test_equal_runs_are_one_commit_and_others_are_not(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, run, BY)
    others = [
        replace(run, after=pair_of(writer, {"zlib.o": "another"})),
        replace(run, log=b"warned\n"),
        replace(run, start=Start(ids.commit, run.after)),
        replace(run, facts={"seconds": "2"}),
        replace(run, output=None),
    ]
    commits = {write_run(writer, other, BY).commit for other in others}
    assert len(commits) == len(others)
    assert ids.commit not in commits
    assert write_run(writer, sample_run(writer), BY) == ids


def test_an_output_is_independent_of_its_producer(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, run, BY)
    elsewhere = replace(run, log=b"", environment={}, facts={"host": "there"})
    again = write_run(writer, elsewhere, author(5))
    assert (again.output, again.output_commit) == (ids.output, ids.output_commit)
    assert again.record != ids.record


@pytest.mark.parametrize("attributes", [None, {"%attributes": "a\tmode=4755\n"}])
def test_a_workdir_with_manual_changes(
    writer: ObjectWriter, attributes: dict[str, str] | None
) -> None:
    pair = pair_of(writer, {"a": "edited"}, attributes)
    before: Oid = empty_start(writer).commit
    commit = write_workdir(writer, pair, before, BY, "changed by hand")
    assert writer.commit(commit).message == "changed by hand\n"
    assert writer.commit(commit).parents[0] == before
    assert read_workdir(writer, commit) == pair
    record = read_record(writer, writer.commit(commit).parents[1])
    assert record.task_hash is None
    assert set(record.parts) == ({b"attributes"} if attributes else set())


def test_objects_are_durable_after_the_writer_exits(store: Store) -> None:
    with store.objects.writer() as writer:
        run = sample_run(writer)
        # the start must exist before the run
        ids = write_run(writer, run, BY)
    again = Store.open(store.path)
    for commit in (ids.commit, ids.record, ids.output_commit, run.start.commit):
        assert again.objects.exists(commit)
    assert read_workdir(again.objects, ids.commit) == run.after
    assert not again.objects.exists(oid("something else"))


def test_a_key_is_written_as_text(writer: ObjectWriter) -> None:
    record = read_record(writer, write_run(writer, sample_run(writer, COMPILE), BY).record)
    assert record.facts(writer)["task"] == COMPILE
