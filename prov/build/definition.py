"""What a run needs so that it can be run again, and is in no hash: with the inputs, the whole of its task.

A task hash leaves out what must not change it: where a source was fetched from, variables that are excluded, which of
the host's programs the tools are. All of it is one JSON text in the run's record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prov.build.graph import Node
from prov.build.taskhash import LocalFile, OwnInputs
from prov.errors import StoreError
from prov.store.objects import Oid
from prov.worktree.attributes import Node as FileNode
from prov.worktree.attributes import Pair

FORMAT = 1
_TASK = ("dir", "outputdir", "inputs", "interpreter", "hosttools", "network", "deploy")


@dataclass(frozen=True, slots=True)
class Definition:
    """A recorded task's own words, as far as its inputs don't hold them."""

    version: str
    arch: str
    """As the recipe says it: target, native, …"""
    arch_name: str
    """As a folder is called: x86_64, …"""
    chain: str
    after: tuple[str, ...]
    from_: tuple[str, ...]
    needs: tuple[str, ...]
    """Keys of the tasks in its edges, in the order that counts."""
    direct: tuple[str, ...]
    staging: tuple[str, ...]
    task: Mapping[str, Any]
    """Fields of the task that the inputs hold as one text, or not at all."""
    export: tuple[str, ...]
    sysroot_owner: Mapping[str, str]
    excluded: Mapping[str, str]
    """Variables that the task reaches, and that are kept out of its hash."""
    programs: tuple[tuple[str, str], ...]
    """Name and path of each host tool."""
    sources: tuple[LocalFile, ...] = field(default=())
    patches: tuple[LocalFile, ...] = field(default=())


def define(node: Node, chain: str, own: OwnInputs) -> bytes:
    """Return the text that a run's record holds."""
    recipe, task = node.recipe, node.task
    left_out = {"SOURCES", *task.vardepsexclude}.intersection(own.reached.variables)
    table = {
        "format": FORMAT,
        "version": recipe.version,
        "arch": recipe.arch,
        "arch_name": node.arch,
        "chain": chain,
        "after": node.after,
        "from": node.from_,
        "needs": node.needs,
        "direct": sorted(node.direct),
        "staging": node.staging,
        "task": {name: getattr(task, name) for name in _TASK},
        "export": recipe.exports(task),
        "sysroot_owner": {os.fsdecode(path): owner for path, owner in recipe.sysroot_owner.items()},
        "excluded": {name: recipe.variables[name].value for name in sorted(left_out) if name in recipe.variables},
        "programs": own.toolchain.programs,
        "sources": [_file(each) for each in own.sources],
        "patches": [_file(each) for each in own.patches],
    }
    rows = ",\n".join(f'"{name}": {json.dumps(value, sort_keys=True)}' for name, value in sorted(table.items()))
    return f"{{\n{rows}\n}}\n".encode()


def _file(file: LocalFile) -> list[Any]:
    node = file.node
    attributes = node.pair.attributes.hex() if node.pair.attributes else ""
    return [file.name, node.mode, node.pair.tree.hex() if node.is_directory else node.oid.hex(), attributes]


def read_definition(text: bytes, key: str) -> Definition:
    """Return what `define` wrote. Raises StoreError for a record that has none, or one of a later prov."""
    if not text:
        raise StoreError(
            f"the run of {key} was recorded without what is needed to run it again",
            hint="it is from an older prov, or no recipe's; build it again",
        )
    table = json.loads(text)
    if table["format"] != FORMAT:
        raise StoreError(f"the run of {key} was recorded by a later prov", hint="update prov")
    return Definition(
        version=table["version"],
        arch=table["arch"],
        arch_name=table["arch_name"],
        chain=table["chain"],
        after=tuple(table["after"]),
        from_=tuple(table["from"]),
        needs=tuple(table["needs"]),
        direct=tuple(table["direct"]),
        staging=tuple(table["staging"]),
        export=tuple(table["export"]),
        task={name: tuple(value) if isinstance(value, list) else value for name, value in table["task"].items()},
        sysroot_owner=table["sysroot_owner"],
        excluded=table["excluded"],
        programs=tuple((name, path) for name, path in table["programs"]),
        sources=tuple(_local_file(row) for row in table["sources"]),
        patches=tuple(_local_file(row) for row in table["patches"]),
    )


def _local_file(row: list[Any]) -> LocalFile:
    name, mode, oid, attributes = row
    pair = Pair(_oid(oid), _oid(attributes) if attributes else None)
    is_directory = mode & 0o170000 == 0o040000
    return LocalFile(name, FileNode(mode, pair=pair) if is_directory else FileNode(mode, _oid(oid)))


def _oid(text: str) -> Oid:
    return bytes.fromhex(text)
