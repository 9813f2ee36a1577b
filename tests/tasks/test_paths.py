"""Tests of a task's paths: its host tools on disk and other readable paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.recipes.recipe import Source
from prov.store.repository import Store
from prov.tasks.paths import make_paths
from prov.tasks.toolchain import Toolchains
from tests.tasks.samples import TOOLS, node_of, workspace_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("sandbox", [None, "bwrap"])
def test_a_task_has_links_to_its_tools(store: Store, tmp_path: Path, sandbox: str | None) -> None:
    workspace = workspace_of(store, tmp_path / "work", sandbox=sandbox)
    task_paths = make_paths(workspace, Toolchains(store, "/usr/bin"), node_of(), "compile", TOOLS)
    assert task_paths.workdir == tmp_path / "work/x86_64/zlib/compile"
    assert task_paths.name == ("x86_64", "zlib", "compile")
    assert {path.name: str(path.readlink()) for path in task_paths.links.iterdir()} == dict(
        TOOLS.programs
    )
    assert (task_paths.root is not None) == (sandbox is not None)
    assert (task_paths.network, task_paths.readable, task_paths.direct) == (False, (), ())


@pytest.mark.parametrize(
    ("source", "readable"),
    [
        (Source("a", url="file:///srv/a.tar"), "/srv/a.tar"),
        (Source("a", git="/srv/a.git", commit=COMMIT), "/srv/a.git"),
        (Source("a", git="file:///srv/a.git", commit=COMMIT), "/srv/a.git"),
        (Source("a", git="https://host/a.git", commit=COMMIT), None),
        (Source("a", url="https://host/a.tar"), None),
        (Source("a", file=Path("/srv/a.tar")), None),
    ],
)
def test_sources_that_a_fetching_task_may_read(
    store: Store, tmp_path: Path, source: Source, readable: str | None
) -> None:
    workspace, toolchains = workspace_of(store, tmp_path / "work"), Toolchains(store, "/usr/bin")
    node = node_of(sources=(source,), task={"network": True})
    task_paths = make_paths(workspace, toolchains, node, "fetch", TOOLS)
    assert task_paths.network
    assert task_paths.readable == ((Path(readable),) if readable else ())
    other = make_paths(workspace, toolchains, node_of(sources=(source,)), "compile", TOOLS)
    assert other.readable == ()
