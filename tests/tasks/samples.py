"""Minimal recipes, nodes and jobs for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prov.recipes.graph import Graph, Node
from prov.recipes.recipe import Recipe, Setting, Task
from prov.recipes.variables import Reached
from prov.records.keys import TaskKey
from prov.store.objects import EMPTY_TREE, MODE_FILE, Entry, Oid, object_id
from prov.store.repository import Store
from prov.sysroot.compose import Sysroots
from prov.tasks.job import Job, Workspace
from prov.tasks.sandbox import TaskPaths
from prov.tasks.taskhash import InputsReader, OwnInputs
from prov.tasks.toolchain import Toolchain
from prov.worktree.pool import GUARDED, Pool
from tests.records.samples import static_key

KEY = TaskKey("zlib:compile")
TOOLS = Toolchain(EMPTY_TREE, (("sh", "/bin/sh"), ("cc", "/usr/bin/cc")))


def settings(**values: str) -> dict[str, Setting]:
    """Return variables with an origin."""
    return {name: Setting(value, "zlib.toml") for name, value in values.items()}


def node_of(
    script: str = "make\n",
    *,
    variables: Mapping[str, str] | None = None,
    functions: Mapping[str, str] | None = None,
    task: Mapping[str, Any] | None = None,
    edges: Mapping[str, tuple[str, ...]] | None = None,
    **recipe: Any,
) -> Node:
    """Return the node of zlib:compile; `recipe`, `task` and `edges` are fields of their classes."""
    task_fields = {"name": "compile", "script": script, **(task or {})}
    compile_ = Task(**task_fields)
    recipe_fields = {
        "name": "zlib",
        "version": "1.3",
        "arch": "target",
        "path": Path("zlib.toml"),
        "variables": settings(**(variables or {})),
        "functions": functions or {},
        "tasks": {"compile": compile_},
        **recipe,
    }
    after, from_, needs = (
        tuple(map(TaskKey, (edges or {}).get(kind, ()))) for kind in ("after", "from", "needs")
    )
    return Node(KEY, Recipe(**recipe_fields), compile_, "x86_64", after, from_, needs)


def graph_of(*nodes: Node) -> Graph:
    """Return a graph of nodes; the last one is the target."""
    return Graph({node.key: node for node in nodes}, (nodes[-1].key,))


def own_of(text: str = "make\n", *, reached: tuple[str, ...] = (), **fields: Any) -> OwnInputs:
    """Return own inputs with a script."""
    entry = Entry(b"script", MODE_FILE, object_id("blob", text.encode()))
    return OwnInputs((entry,), Reached(reached, ()), TOOLS, **fields)


def paths_of(
    workdir: Path = Path("/builds/zlib"), *, sandboxed: bool = False, **fields: Any
) -> TaskPaths:
    """Return the paths of zlib:compile."""
    root = Path("/store/root") if sandboxed else None
    return TaskPaths(workdir, ("x86_64", "zlib", "compile"), root, Path("/store/bin"), **fields)


def job_of(node: Node, task_paths: TaskPaths, own: OwnInputs | None = None, **fields: Any) -> Job:
    """Return a job for a node without edges."""
    job = Job(node, "compile", own or own_of(), {}, static_key("compile"), task_paths)
    return replace(job, **fields)


def blob_id(text: str) -> Oid:
    """Return the blob id of a text."""
    return object_id("blob", text.encode())


def workspace_of(
    store: Store, work: Path, *, sandbox: str | None = None, alias: str = ""
) -> Workspace:
    """Return a workspace on a host with two tools."""
    pool = Pool(store.cache / GUARDED, store.objects)
    sysroots = Sysroots(pool, store.cache / "sysroots")
    inputs = InputsReader(store, store.objects.writer(), lambda _tools, _key: TOOLS)
    return Workspace(store, inputs, sysroots, work, sandbox, alias)
