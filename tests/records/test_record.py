"""Tests of reading task commits, records and the ids in inputs trees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.records.entries import LOG, SYSROOT_NATIVE, SYSROOT_TARGET
from prov.records.ids import Unihash
from prov.records.record import (
    Record,
    parse_edge_id,
    part_at,
    read_edge_id,
    read_record,
    read_run_record,
    read_task_commit,
    read_workdir,
    record_of,
)
from prov.records.run import empty_start, write_run, write_workdir
from prov.store.objects import Commit
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import EMPTY, Pair
from tests.records.samples import BY, failed, oid, pair_of, sample_run, tree_of

# task commits


def test_the_parts_of_a_task_commit(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, run, BY)
    parts = read_task_commit(writer, ids.commit)
    assert (parts.commit, parts.tree) == (ids.commit, run.after.tree)
    assert (parts.before, parts.record) == (run.start.commit, ids.record)
    assert record_of(writer, ids.commit) == ids.record


def test_a_third_parent_is_not_read(writer: ObjectWriter) -> None:
    ids = write_run(writer, sample_run(writer), BY)
    commit = writer.commit(ids.commit)
    more = writer.add_commit(replace(commit, parents=(*commit.parents, ids.commit)))
    assert record_of(writer, more) == ids.record


@pytest.mark.parametrize("parents", [0, 1])
def test_a_commit_without_a_record_is_not_a_task_commit(writer: ObjectWriter, parents: int) -> None:
    start = empty_start(writer)
    commit = writer.add_commit(
        Commit(start.pair.tree, (start.commit,) * parents, BY, "not a task\n")
    )
    with pytest.raises(StoreError, match=f"{commit.hex()} is not a task commit"):
        read_task_commit(writer, commit)
    with pytest.raises(StoreError, match="it has no record"):
        record_of(writer, commit)


# records


def test_parts_of_a_record(writer: ObjectWriter) -> None:
    run = sample_run(writer)
    ids = write_run(writer, run, BY)
    record = read_record(writer, ids.record)
    assert record.tree == writer.commit(ids.record).tree
    assert (record.task_hash, record.output) == (run.task_hash, ids.output)
    assert record.attributes is None
    assert not record.is_recipes
    assert record.text(writer, LOG) == b"compiled\n"


def test_a_failed_run_has_no_output(writer: ObjectWriter) -> None:
    run = failed(sample_run(writer))
    record = read_record(writer, write_run(writer, run, BY).record)
    assert record.output is None
    assert record.task_hash == run.task_hash


def test_an_empty_record(writer: ObjectWriter) -> None:
    record = Record(read_record(writer, empty_start(writer).commit).tree, {})
    assert (record.task_hash, record.output, record.attributes) == (None, None, None)
    assert not record.is_recipes
    assert (record.facts(writer), record.environment(writer)) == ({}, {})
    assert (record.log(writer), record.definition(writer)) == (b"", b"")


def test_a_record_is_found_by_its_run_and_by_itself(writer: ObjectWriter) -> None:
    ids = write_run(writer, sample_run(writer), BY)
    assert read_run_record(writer, ids.commit) == read_run_record(writer, ids.record)


def test_a_workdir_has_its_attributes_in_the_record(writer: ObjectWriter) -> None:
    after = pair_of(writer, {"a": "1"}, {"%attributes": "a\tmode=4755\n"})
    ids = write_run(writer, replace(sample_run(writer), after=after), BY)
    assert read_workdir(writer, ids.commit) == after


def test_a_commit_without_a_record_has_no_attributes(
    writer: ObjectWriter,
) -> None:
    start = empty_start(writer)
    assert read_workdir(writer, start.commit) == EMPTY
    tree = tree_of(writer, {"a": "1"})
    commit = writer.add_commit(Commit(tree, (start.commit,), BY, "imported\n"))
    assert read_workdir(writer, commit) == Pair(tree, None)


def test_manual_changes_have_a_record_without_a_task(writer: ObjectWriter) -> None:
    pair = pair_of(writer, {"a": "1"}, {"%attributes": "a\tmode=4755\n"})
    commit = write_workdir(writer, pair, empty_start(writer).commit, BY, "changed by hand")
    record = read_run_record(writer, commit)
    assert (record.task_hash, record.output) == (None, None)
    assert record.attributes == pair.attributes


# parts by path


@pytest.mark.parametrize(
    ("path", "is_there"),
    [
        ("log", True),
        ("inputs", True),
        ("inputs/script", True),
        (SYSROOT_TARGET, True),
        (f"{SYSROOT_TARGET}/content/zlib.h", True),
        (SYSROOT_NATIVE, False),
        ("sysroot/target/content/other.h", False),
        ("nothing", False),
        ("nothing/below", False),
        ("", False),
    ],
)
def test_parts_are_found_by_path(writer: ObjectWriter, path: str, is_there: bool) -> None:
    sysroots = {"target": pair_of(writer, {"zlib.h": "header"})}
    run = replace(sample_run(writer), sysroots=sysroots)
    record = read_record(writer, write_run(writer, run, BY).record)
    entry = part_at(writer, record.tree, path)
    assert (entry is not None) == is_there
    if entry is not None:
        assert entry.name.decode() == path.rpartition("/")[2]


# ids in inputs trees


@given(st.binary(min_size=20, max_size=20))
def test_an_id_of_an_object_is_read(oid: bytes) -> None:
    edge = parse_edge_id(oid.hex().encode())
    assert edge == oid
    assert not isinstance(edge, Unihash)


@given(st.binary(min_size=32, max_size=32))
def test_a_unihash_is_read(oid: bytes) -> None:
    edge = parse_edge_id(oid.hex().encode())
    assert edge == oid
    assert isinstance(edge, Unihash)


@given(st.binary(max_size=70))
def test_only_hex_digits_of_these_lengths_are_ids(text: bytes) -> None:
    is_id = len(text) in (40, 64) and set(text) <= set(b"0123456789abcdef")
    try:
        parse_edge_id(text)
    except StoreError:
        assert not is_id
    else:
        assert is_id


@pytest.mark.parametrize(("digits", "is_unihash"), [(40, False), (64, True)])
def test_kind_of_an_id_follows_from_its_digits(digits: int, is_unihash: bool) -> None:
    edge = parse_edge_id(b"a" * digits)
    assert isinstance(edge, Unihash) == is_unihash
    assert edge.hex() == "a" * digits


@pytest.mark.parametrize("text", [b"", b"a" * 41, b"A" * 40, b"a" * 40 + b"\n", b"x" * 64])
def test_other_texts_are_rejected(text: bytes) -> None:
    with pytest.raises(StoreError, match="invalid id"):
        parse_edge_id(text)


def test_a_long_text_is_shortened_in_the_error() -> None:
    with pytest.raises(StoreError) as error:
        parse_edge_id(b"x" * 10_000)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("end", ["\n", "", " \n"])
def test_the_id_of_an_edge_is_a_line(writer: ObjectWriter, end: str) -> None:
    output = oid("output")
    blob = writer.add("blob", f"{output.hex()}{end}".encode())
    assert read_edge_id(writer, blob) == output
