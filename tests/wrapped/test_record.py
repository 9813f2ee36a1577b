"""Tests of the records of runs: their inputs and outputs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from prov.history.inputs import read_inputs
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.run import empty_start
from prov.store.objects import EMPTY_TREE
from prov.store.repository import Store
from prov.worktree.attributes import walk
from prov.worktree.snapshot import capture
from prov.wrapped.builds import PreviousStep
from prov.wrapped.record import output_of, write_inputs
from prov.wrapped.step import CommandStep, Ran

STEP = CommandStep.parse("app:compile")
RAN = Ran("make", environment={"CFLAGS": "-O2"})


def written(
    store: Store, ran: Ran, *, step: CommandStep = STEP, source: PreviousStep | None = None
) -> TaskHash:
    """Write inputs of a run that started in an empty directory."""
    with store.objects.writer() as writer:
        return write_inputs(writer, step, empty_start(writer), ran, source)


def own_inputs(store: Store, task_hash: TaskHash) -> dict[str, bytes]:
    inputs = read_inputs(store.objects, STEP.key, task_hash)
    return {kind: store.objects.blob(entry.oid) for (kind, _), entry in inputs.own.items()}


def test_inputs_are_name_command_environment_and_start(store: Store) -> None:
    assert own_inputs(store, written(store, RAN)) == {
        "definition": b"task app:compile\n",
        "command": b"make\n",
        "environment": b"CFLAGS=-O2\n",
        "starting directory": f"{EMPTY_TREE.hex()}\n".encode(),
    }


def test_what_a_capture_omits_is_an_input(store: Store) -> None:
    step = dataclasses.replace(STEP, exclude=("*.o",), gitignore=True)
    texts = own_inputs(store, written(store, RAN, step=step))
    assert texts["capture settings"] == b"exclude *.o\ngitignore\n"


def test_times_status_and_log_are_no_inputs(store: Store) -> None:
    other = dataclasses.replace(RAN, code=1, began=5.0, seconds=1.0, log=b"x", facts={"a": "b"})
    assert written(store, other) == written(store, RAN)


def test_an_edge_leads_to_the_previous_step(store: Store) -> None:
    previous = PreviousStep(TaskKey("app:configure"), OutputId(EMPTY_TREE))
    inputs = read_inputs(store.objects, STEP.key, written(store, RAN, source=previous))
    assert dict(inputs.edges) == {("from", "app:configure"): EMPTY_TREE}
    itself = PreviousStep(STEP.key, OutputId(EMPTY_TREE))
    assert written(store, RAN, source=itself) == written(store, RAN)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ((), {"a/x", "b/y", "z"}),
        (("a",), {"a/x"}),
        (("a", "b"), {"a/x", "b/y"}),
        (("",), {"a/x", "b/y", "z"}),
    ],
)
def test_the_output_has_the_named_folders(
    store: Store, tmp_path: Path, folders: tuple[str, ...], expected: set[str]
) -> None:
    for name in ("a/x", "b/y", "z"):
        path = tmp_path / "dir" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with store.objects.writer() as writer:
        snapshot = capture(store, tmp_path / "dir", writer)
        output, problem = output_of(snapshot, folders, writer)
        assert output is not None
        files = {path.decode() for path, node in walk(writer, output.pair) if not node.is_directory}
        missing = output_of(snapshot, ("c",), writer)
        installed, _ = output_of(snapshot, ("c",), writer, {"c": snapshot.pair})
        assert installed is not None
        outside = {path for path, _ in walk(writer, installed.pair)}
    assert (files, problem) == (expected, "")
    assert missing == (None, "the output folder c is missing")
    assert b"c/z" in outside
