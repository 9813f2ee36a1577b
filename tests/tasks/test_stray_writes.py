"""Writes where no task should write: found, and the tasks named that ran then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.records.keys import TaskKey
from prov.store.repository import Store
from prov.tasks.stray_writes import Span, StoreSeal, _suspects, stray_writes
from tests.records.samples import APP, COMPILE
from tests.tasks.samples import KEY, graph_of, node_of, own_of, workspace_of

SPANS: list[Span] = [(COMPILE, 100.0, 110.0), (APP, 105.0, 120.0)]


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (99.0, "no task of this build ran then"),
        (99.96, "zlib:compile ran then"),
        (102.0, "zlib:compile ran then"),
        (107.0, "zlib:compile or app:compile ran then"),
        (115.0, "app:compile ran then"),
        (120.04, "app:compile ran then"),
        (121.0, "no task of this build ran then"),
    ],
)
def test_tasks_that_ran_then(when: float, words: str) -> None:
    assert _suspects(SPANS, when) == words


def test_a_store_that_prov_alone_writes_to_is_whole(store: Store) -> None:
    seal = StoreSeal(store)
    assert seal.broken() == []
    with store.objects.writer() as writer:
        writer.add("blob", b"new\n")
    assert seal.broken() == []


@pytest.mark.parametrize("name", ["config", "HEAD"])
def test_a_changed_file_of_the_store_is_found(store: Store, name: str) -> None:
    seal = StoreSeal(store)
    with open(store.path / name, "a") as stream:
        stream.write("\n")
    assert seal.broken() == [str(store.path / name)]


def test_a_pack_that_was_joined_with_others_is_no_trespass(store: Store) -> None:
    seal = StoreSeal(store)
    for path in (store.path / "objects/pack").iterdir():
        path.unlink()
    assert seal.broken() == []


def test_a_trespass_is_told_with_who_ran_then(store: Store, tmp_path: Path) -> None:
    seal = StoreSeal(store)
    (store.path / "config").write_text((store.path / "config").read_text() + "\n")
    os.utime(store.path / "config", (102, 102))
    workspace, graph = workspace_of(store, tmp_path / "work"), graph_of(node_of())
    notes = stray_writes(workspace, graph, {KEY: own_of()}, SPANS, seal)
    assert notes == [f"{store.path}/config in the store was written to; zlib:compile ran then"]


def test_a_workdir_that_no_task_recorded_is_kept(store: Store, tmp_path: Path) -> None:
    workspace, graph = workspace_of(store, tmp_path / "work"), graph_of(node_of())
    workdir = workspace.workdir(graph.nodes[KEY], graph.chain(KEY))
    own = {TaskKey(KEY): own_of()}
    assert stray_writes(workspace, graph, own, SPANS, StoreSeal(store)) == []
    workdir.mkdir(parents=True)
    (workdir / "stray").write_text("by another task\n")
    os.utime(workdir / "stray", (115, 115))
    os.utime(workdir, (115, 115))
    (note,) = stray_writes(workspace, graph, own, SPANS, StoreSeal(store))
    assert "was changed outside any task" in note
    assert "(stray); app:compile ran then" in note
    assert stray_writes(workspace, graph, own, SPANS, StoreSeal(store)) == []
