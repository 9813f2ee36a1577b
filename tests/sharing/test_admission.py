"""The programs that a fetched output would run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from prov.records.ids import TaskHash
from prov.records.output import Output, write_output
from prov.remote.settings import Remote, Trust
from prov.sharing.admission import first_program, is_unsigned, objection, recorded_postprocess
from prov.store.objects import MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.records.samples import tree_of
from tests.sharing.samples import published, text_entry

SIGNED = Remote("cache", "https://host/cache.git")
UNSIGNED = replace(SIGNED, trust="none")


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer that keeps objects in memory."""
    return store.objects.writer(memory=True)


def inputs(writer: ObjectWriter, postprocess: str, variables: Mapping[str, str]) -> TaskHash:
    """Write a tree of inputs with a postprocess script."""
    entries = [text_entry(writer, "script", "make\n")]
    if postprocess:
        entries.append(text_entry(writer, "postprocess", postprocess))
    if variables:
        entries.append(Entry(b"variables", MODE_DIRECTORY, tree_of(writer, variables)))
    return TaskHash(writer.add_tree(entries))


def content(writer: ObjectWriter, files: Mapping[str, int]) -> Pair:
    """Write a directory `usr` with files of these modes."""
    blob = writer.add("blob", b"x")
    usr = writer.add_tree([Entry(name.encode(), mode, blob) for name, mode in files.items()])
    return Pair(writer.add_tree([Entry(b"usr", MODE_DIRECTORY, usr)]), None)


# unsigned remotes


@pytest.mark.parametrize(("trust", "unsigned"), [("none", True), ("keys", False)])
def test_a_shared_remote_without_keys_is_unsigned(trust: Trust, *, unsigned: bool) -> None:
    assert is_unsigned(replace(SIGNED, trust=trust)) == unsigned


@pytest.mark.parametrize(
    ("mode", "unsigned"), [(0o755, False), (0o700, False), (0o777, True), (0o2775, True)]
)
def test_the_users_own_folder_is_not_unsigned(tmp_path: Path, mode: int, *, unsigned: bool) -> None:
    folder = tmp_path / "cache.git"
    folder.mkdir()
    folder.chmod(mode)
    assert is_unsigned(replace(UNSIGNED, url=f"file://{folder}")) == unsigned


# postprocess scripts


@pytest.mark.parametrize(
    ("text", "variables", "script"),
    [
        ("", {}, b""),
        ("", {"A": "1"}, b""),
        ("ldconfig\n", {}, b"ldconfig\n"),
        ("echo ${A} ${OUTPUT_DIR}\n", {"A": "1"}, b"echo 1 ${OUTPUT_DIR}\n"),
        ("echo ${A}\n", {"A": "${B}", "B": "2"}, b"echo 2\n"),
        ("echo ${A}\n", {}, None),
        ("echo ${A}\n", {"A": "${A}"}, None),
        ("echo ${A}\n", {"A": "${DATE}"}, None),
    ],
)
def test_the_script_follows_from_the_inputs(
    writer: ObjectWriter, text: str, variables: dict[str, str], script: bytes | None
) -> None:
    assert recorded_postprocess(writer, inputs(writer, text, variables)) == script


# programs


@pytest.mark.parametrize(
    ("files", "program"),
    [
        ({}, ""),
        ({"zlib.h": MODE_FILE}, ""),
        ({"tool": MODE_EXECUTABLE}, "usr/tool"),
        ({"libz.so": MODE_FILE}, "usr/libz.so"),
        ({"libz.so.1.3": MODE_FILE}, "usr/libz.so.1.3"),
        ({"libz.a": MODE_FILE, "run": MODE_EXECUTABLE}, "usr/run"),
    ],
)
def test_the_first_program(writer: ObjectWriter, files: dict[str, int], program: str) -> None:
    output = write_output(writer, Output(content(writer, files)))
    assert first_program(writer, output) == program


def test_a_script_is_a_program(writer: ObjectWriter) -> None:
    output = write_output(writer, Output(content(writer, {}), b"true\n"))
    assert first_program(writer, output) == "postprocess"


# objections


@pytest.mark.parametrize(
    ("recipe", "output", "problem"),
    [
        ("", b"", ""),
        ("ldconfig\n", b"ldconfig\n", ""),
        ("ldconfig\n", b"", "differs from the recipe's"),
        ("", b"evil\n", "differs from the recipe's"),
        ("ldconfig\n", b"evil\n", "differs from the recipe's"),
        ("echo ${A}\n", b"echo 1\n", "a variable that is missing from its inputs"),
    ],
)
@pytest.mark.parametrize("confined", [False, True])
def test_a_different_script_is_rejected_even_if_signed(
    writer: ObjectWriter, recipe: str, output: bytes, problem: str, *, confined: bool
) -> None:
    task = replace(
        published(),
        task_hash=inputs(writer, recipe, {}),
        output=write_output(writer, Output(content(writer, {}), output)),
    )
    words = objection(writer, SIGNED, task, confined=confined)
    assert problem in words
    assert bool(words) == bool(problem)


@pytest.mark.parametrize(
    ("remote", "confined", "is_used"),
    [
        (SIGNED, True, True),
        (SIGNED, False, True),
        (UNSIGNED, True, True),
        (UNSIGNED, False, False),
    ],
)
def test_an_unsigned_program_needs_a_sandbox(
    writer: ObjectWriter, remote: Remote, *, confined: bool, is_used: bool
) -> None:
    task = replace(
        published(),
        task_hash=inputs(writer, "", {}),
        output=write_output(writer, Output(content(writer, {"tool": MODE_EXECUTABLE}))),
    )
    words = objection(writer, remote, task, confined=confined)
    assert (words == "") == is_used
    assert is_used or "the program usr/tool" in words
