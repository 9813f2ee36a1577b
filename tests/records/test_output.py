"""Tests of outputs: their ids and their commits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.output import (
    FIXED_MESSAGE,
    OUTPUT_MESSAGE,
    OUTPUT_MESSAGES,
    UNSIGNED_MESSAGE,
    Output,
    read_fixed,
    read_pair,
    read_postprocess,
    write_output,
    write_output_commit,
    write_pair,
)
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import EMPTY, Pair
from tests.records.samples import pair_of, tree_of

contents = st.dictionaries(
    st.from_regex(r"\A[a-z]{1,4}\Z"), st.text("xyz\n", max_size=8), max_size=3
)
attributes = st.none() | contents
scripts = st.binary(max_size=12)

OUTPUT_ID = "36f928235068b98f6296dd4c8c6155495ff2aaa7"
COMMIT_ID = "4bc10ecac4d0c57954db5aa740ec440d23aa3027"
"""Ids of a file `a` with a postprocess script, made with `git mktree` and `git commit-tree`."""


@given(contents, attributes)
def test_a_directory_is_read_back(
    writer: ObjectWriter, files: dict[str, str], beside: dict[str, str] | None
) -> None:
    pair = pair_of(writer, files, beside)
    assert read_pair(writer, write_pair(writer, pair)) == pair


@given(contents, attributes, scripts, scripts)
def test_an_output_is_read_back(
    writer: ObjectWriter,
    files: dict[str, str],
    beside: dict[str, str] | None,
    postprocess: bytes,
    fixed: bytes,
) -> None:
    pair = pair_of(writer, files, beside)
    output = write_output(writer, Output(pair, postprocess, fixed))
    assert read_pair(writer, output) == pair
    assert read_postprocess(writer, output) == postprocess
    assert read_fixed(writer, output) == fixed


@given(st.lists(st.tuples(contents, scripts, scripts), min_size=2, max_size=4))
def test_equal_outputs_have_one_id(
    writer: ObjectWriter, parts: list[tuple[dict[str, str], bytes, bytes]]
) -> None:
    outputs = [
        Output(pair_of(writer, files), postprocess, fixed) for files, postprocess, fixed in parts
    ]
    ids = [write_output(writer, output) for output in outputs]
    for first, first_id in zip(outputs, ids, strict=True):
        for second, second_id in zip(outputs, ids, strict=True):
            assert (first == second) == (first_id == second_id)


def test_nothing_is_the_empty_tree(writer: ObjectWriter) -> None:
    assert write_pair(writer, EMPTY) == EMPTY_TREE
    assert write_output(writer, Output(EMPTY)) == EMPTY_TREE
    assert read_pair(writer, EMPTY_TREE) == EMPTY


def test_entries_of_an_output(writer: ObjectWriter) -> None:
    pair = pair_of(writer, {"a": "1"}, {"%attributes": "a\tmode=4755\n"})
    output = write_output(writer, Output(pair, b"ldconfig\n", b"/work\n"))
    names = [entry.name for entry in writer.tree(output)]
    assert names == [b"attributes", b"content", b"fixed", b"postprocess"]


def test_an_empty_part_has_no_entry(writer: ObjectWriter) -> None:
    folder_only = Pair(EMPTY_TREE, tree_of(writer, {"%attributes": "a\tmode=0700\n"}))
    names = [entry.name for entry in writer.tree(write_pair(writer, folder_only))]
    assert names == [b"attributes"]


def test_other_entries_are_added(writer: ObjectWriter) -> None:
    pair = pair_of(writer, {"a": "1"})
    extra = Entry(b"note", MODE_FILE, writer.add("blob", b"x"))
    tree = write_pair(writer, pair, [extra])
    assert extra in writer.tree(tree)
    assert read_pair(writer, tree) == pair


@pytest.mark.parametrize(("fixed", "message"), [(b"", OUTPUT_MESSAGE), (b"/work\n", FIXED_MESSAGE)])
def test_the_message_depends_on_relocatability(fixed: bytes, message: str) -> None:
    assert Output(EMPTY, fixed=fixed).message == message


def test_messages_are_those_of_recorded_stores() -> None:
    assert OUTPUT_MESSAGES == (
        "output\n",
        "output, of use in one place\n",
        "output, unsigned, from a remote\n",
    )


@pytest.mark.parametrize("message", OUTPUT_MESSAGES)
def test_an_output_s_commit_is_independent_of_time_and_place(
    writer: ObjectWriter, message: str
) -> None:
    output = write_output(writer, Output(pair_of(writer, {"a": "1"})))
    commit = writer.commit(write_output_commit(writer, output, message))
    assert (commit.tree, commit.parents) == (output, ())
    assert commit.author == CONSTANT_IDENTITY
    assert commit.message == message


def test_a_signed_output_has_one_commit(writer: ObjectWriter) -> None:
    output = write_output(writer, Output(pair_of(writer, {"a": "1"})))
    commits = {write_output_commit(writer, output, message) for message in OUTPUT_MESSAGES}
    assert len(commits) == len(OUTPUT_MESSAGES)
    again = write_output_commit(writer, output, UNSIGNED_MESSAGE)
    assert again in commits


def test_ids_are_those_of_recorded_stores(writer: ObjectWriter) -> None:
    output = write_output(writer, Output(pair_of(writer, {"a": "1\n"}), b"true\n"))
    commit = write_output_commit(writer, output, OUTPUT_MESSAGE)
    assert output.hex() == OUTPUT_ID
    assert commit.hex() == COMMIT_ID
