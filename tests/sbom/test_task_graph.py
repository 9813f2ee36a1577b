"""The graph contains each task behind a target, with what the store has of its run."""

from __future__ import annotations

from pathlib import Path

from prov.sbom.task_graph import TaskGraph
from tests.history.tiny import Tiny
from tests.sbom.project import build_project, contents_of, forget_workdir, graph_of, run_of


def test_all_tasks_behind_a_target_are_in_the_graph(tiny: Tiny) -> None:
    graph = graph_of(tiny)
    keys = [run.key for run in graph.behind([run_of(graph, "image:image")])]
    assert keys == [
        "image:image",
        "image:rootfs",
        "lib:fetch",
        "lib:make",
        "lib:patch",
        "lib:stage",
        "lib:unpack",
    ]


def test_edges_name_the_runs_whose_results_were_used(tiny: Tiny) -> None:
    graph = graph_of(tiny)
    (taken,) = run_of(graph, "image:rootfs").edges
    assert (taken.kind, taken.task.key, taken.output) == (
        "from",
        "lib:stage",
        run_of(graph, "lib:stage").record.output,  # type: ignore[union-attr]
    )
    (after,) = run_of(graph, "lib:patch").edges
    assert (after.kind, after.task, after.output) == ("after", run_of(graph, "lib:unpack").id, None)


def test_a_run_without_its_workdir_has_its_output(tmp_path: Path) -> None:
    tiny = build_project(tmp_path)
    run = run_of(graph_of(tiny), "lib:stage")
    forget_workdir(tiny, run)
    graph = graph_of(tiny)
    bare = run_of(graph, "lib:stage")
    assert (bare.commit, bare.tag, graph.start(bare)) == (None, run.tag, None)
    assert graph.workdir(bare) == graph.output(bare)
    assert b"image/usr/lib" in contents_of(graph, bare)


def test_tasks_that_the_store_does_not_have_are_listed(tmp_path: Path) -> None:
    tiny = build_project(tmp_path)
    graph = graph_of(tiny)
    rootfs = run_of(graph, "image:rootfs")
    missing = graph.run(rootfs.id._replace(task_hash=rootfs.id.task_hash[::-1]))  # type: ignore[arg-type]
    assert missing.unknown == ("image:rootfs",)
    assert (missing.tag, missing.record, missing.edges) == ("", None, ())
    assert TaskGraph(tiny.store, tiny.latest()).reads(missing) is None
