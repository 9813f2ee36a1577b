"""Make the paths of one task: its folders, its host tools and other readable paths."""

from __future__ import annotations

from pathlib import Path

from prov.recipes.graph import Node
from prov.tasks.direct import put_direct
from prov.tasks.job import Taken, Workspace
from prov.tasks.sandbox import TaskPaths
from prov.tasks.toolchain import Toolchain, Toolchains


def make_paths(
    workspace: Workspace,
    toolchains: Toolchains,
    node: Node,
    chain: str,
    tools: Toolchain,
    needs: tuple[Taken, ...] = (),
) -> TaskPaths:
    """Return a task's paths. Place its host tools and its `direct` packages on disk."""
    links = toolchains.links(tools)
    readable = [
        source.url.removeprefix("file://") or source.git.removeprefix("file://")
        for source in node.recipe.sources
        if source.url.startswith("file://") or source.git.startswith(("/", "file://"))
    ]
    return TaskPaths(
        workdir=workspace.workdir(node, chain),
        name=(node.arch, node.recipe.name, chain),
        root=toolchains.root(tools) if workspace.sandbox else None,
        links=links,
        network=node.task.network,
        readable=tuple(map(Path, readable)) if node.task.network else (),
        direct=tuple(
            (taken.key.recipe, put_direct(workspace, taken, links))
            for taken in needs
            if taken.direct
        ),
    )
