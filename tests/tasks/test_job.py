"""Tests of workspaces, jobs and results."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

from prov.recipes.graph import Node
from prov.records.keys import TaskKey
from prov.store.repository import Store
from prov.tasks.job import Result
from tests.records.samples import output_id, task_hash
from tests.tasks.samples import KEY, graph_of, job_of, node_of, paths_of, workspace_of

UNPACK = TaskKey("zlib:unpack")


def following() -> tuple[Node, Node]:
    """Return two nodes of one recipe; the second continues in the WORKDIR of the first."""
    first = replace(node_of(task={"name": "unpack"}), key=UNPACK)
    return first, replace(node_of(), after=(UNPACK,))


def test_tasks_of_a_chain_share_a_workdir(store: Store, tmp_path: Path) -> None:
    graph = graph_of(*following())
    workspace = workspace_of(store, tmp_path / "work")
    assert graph.chain(KEY) == graph.chain(UNPACK) == "unpack"
    workdir = workspace.workdir(graph.nodes[KEY], graph.chain(KEY))
    assert workdir == tmp_path / "work/x86_64/zlib/unpack"


def test_the_place_of_a_sandboxed_task_is_the_same_everywhere(store: Store, tmp_path: Path) -> None:
    graph = graph_of(*following())
    places = {
        workspace_of(store, tmp_path / name, sandbox="bwrap").place_in(graph)(KEY)
        for name in ("a", "b")
    }
    assert places == {b"WORKDIR /build/work/x86_64/zlib/unpack\nHOSTTOOLS /build/hosttools\n"}


def test_the_place_of_a_task_without_a_sandbox_is_its_folder(store: Store, tmp_path: Path) -> None:
    graph = graph_of(*following())
    place = workspace_of(store, tmp_path / "work").place_in(graph)(KEY)
    workdir = tmp_path / "work/x86_64/zlib/unpack"
    assert place == f"WORKDIR {workdir}\nHOSTTOOLS {store.cache}/toolchains\n".encode()


def test_the_place_of_a_task_is_that_of_its_paths(store: Store, tmp_path: Path) -> None:
    graph = graph_of(*following())
    workspace = workspace_of(store, tmp_path / "work", sandbox="bwrap")
    task_paths = paths_of(sandboxed=True)
    sandboxed = replace(task_paths, name=("x86_64", "zlib", "unpack"))
    assert workspace.place_in(graph)(KEY) == sandboxed.place()


def test_a_job_uses_nothing_by_default(tmp_path: Path) -> None:
    job = job_of(node_of(), paths_of(tmp_path))
    assert (job.after, job.from_, job.needs, job.sources) == ((), (), (), ())
    assert job.plain
    assert not (job.force or job.incremental or job.staged)


def test_results_of_workers_are_unchanged() -> None:
    result = Result(KEY, "ran", task_hash("compile"), output_id("compile"), notes=["note"])
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert isinstance(again.key, TaskKey)
    assert Result(KEY, "failed", task_hash("compile")).notes == []
