"""Tests of finding stray writes and the tasks that ran at that time."""

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
        (99.0, "no task of this build ran at that time"),
        (99.96, "zlib:compile ran at that time"),
        (102.0, "zlib:compile ran at that time"),
        (107.0, "zlib:compile or app:compile ran at that time"),
        (115.0, "app:compile ran at that time"),
        (120.04, "app:compile ran at that time"),
        (121.0, "no task of this build ran at that time"),
    ],
)
def test_tasks_that_ran_at_that_time(when: float, words: str) -> None:
    assert _suspects(SPANS, when) == words


def test_a_store_changed_only_by_prov_is_unbroken(store: Store) -> None:
    seal = StoreSeal(store)
    assert seal.broken() == []
    with store.objects.writer() as writer:
        writer.add("blob", b"new\n")
    assert seal.broken() == []


@pytest.mark.parametrize("name", ["config", "HEAD"])
def test_a_changed_file_of_the_store_is_reported(store: Store, name: str) -> None:
    seal = StoreSeal(store)
    with open(store.path / name, "a") as stream:
        stream.write("\n")
    assert seal.broken() == [str(store.path / name)]


def test_a_combined_pack_is_not_a_stray_write(store: Store) -> None:
    seal = StoreSeal(store)
    for path in (store.path / "objects/pack").iterdir():
        path.unlink()
    assert seal.broken() == []


def test_a_stray_write_is_reported_with_suspects(store: Store, tmp_path: Path) -> None:
    seal = StoreSeal(store)
    (store.path / "config").write_text((store.path / "config").read_text() + "\n")
    os.utime(store.path / "config", (102, 102))
    workspace, graph = workspace_of(store, tmp_path / "work"), graph_of(node_of())
    notes = stray_writes(workspace, graph, {KEY: own_of()}, SPANS, seal)
    assert notes == [f"{store.path}/config in the store was changed; zlib:compile ran at that time"]


def test_an_unrecorded_workdir_is_kept(store: Store, tmp_path: Path) -> None:
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
    assert "(stray); app:compile ran at that time" in note
    assert stray_writes(workspace, graph, own, SPANS, StoreSeal(store)) == []
