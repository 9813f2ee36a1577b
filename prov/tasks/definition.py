"""What a run needs so that it can be run again, and is in no hash: with the inputs, the whole of
its task.

A task hash leaves out what must not change it: where a source was fetched from, variables that are
excluded, which of the host's programs the tools are. All of it is one JSON text in the run's
record.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prov.errors import StoreError
from prov.recipes.graph import Node
from prov.recipes.recipe import INTERPRETERS, VARIABLE_NAME
from prov.store.objects import Oid
from prov.tasks.taskhash import LocalFile, OwnInputs
from prov.worktree.attributes import Node as FileNode
from prov.worktree.attributes import Pair

FORMAT = 1
_TASK = {
    "dir": "text",
    "outputdir": "texts",
    "inputs": "texts",
    "interpreter": "text",
    "hosttools": "texts",
    "network": "yes or no",
    "deploy": "yes or no",
}
"""Fields of a task, and of what kind they are."""
_COMPONENT = re.compile(r"[A-Za-z0-9_][\w.+-]*", re.ASCII)
_FILES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


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
        "excluded": {
            name: recipe.variables[name].value
            for name in sorted(left_out)
            if name in recipe.variables
        },
        "programs": own.toolchain.programs,
        "sources": [_file(each) for each in own.sources],
        "patches": [_file(each) for each in own.patches],
    }
    rows = ",\n".join(
        f'"{name}": {json.dumps(value, sort_keys=True)}' for name, value in sorted(table.items())
    )
    return f"{{\n{rows}\n}}\n".encode()


def _file(file: LocalFile) -> list[Any]:
    node = file.node
    attributes = node.pair.attributes.hex() if node.pair.attributes else ""
    return [
        file.name,
        node.mode,
        node.pair.tree.hex() if node.is_directory else node.oid.hex(),
        attributes,
    ]


def read_definition(text: bytes, key: str) -> Definition:
    """Return what `define` wrote. Raises StoreError for a record that has none, or one that nobody
    can trust.

    A record may be somebody else's: what becomes a part of a path, or of a script, is checked here.
    """
    if not text:
        raise StoreError(
            f"the run of {key} was recorded without what is needed to run it again",
            hint=(
                "it is no recipe's, or from an older prov; `prov checkout` puts its WORKDIR on disk"
            ),
        )
    try:
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise StoreError(f"the run of {key} was recorded by a later prov", hint="update prov")
        return _checked(table, key)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        what = f"{type(error).__name__}: {error}"[:300]
        raise StoreError(
            f"the record of {key} is not what it should be: {what}", hint="don't trust its origin"
        ) from error


def _checked(table: dict[str, Any], key: str) -> Definition:
    task = {name: _typed(table["task"][name], kind) for name, kind in _TASK.items()}
    if task["interpreter"] not in INTERPRETERS:
        raise ValueError(f"interpreter {task['interpreter']!r}")
    excluded = _texts_by_name(table["excluded"])
    if "SOURCES" in excluded and not all(
        isinstance(row, dict) for row in json.loads(excluded["SOURCES"])
    ):
        raise ValueError("SOURCES is no list of tables")
    for part in key.split(":"):
        _component(part)
    return Definition(
        version=_typed(table["version"], "text"),
        arch=_typed(table["arch"], "text"),
        arch_name=_component(table["arch_name"]),
        chain=_component(table["chain"]),
        after=tuple(_key(each, key) for each in _typed(table["after"], "texts")),
        from_=tuple(_key(each) for each in _typed(table["from"], "texts")),
        needs=tuple(_key(each) for each in _typed(table["needs"], "texts")),
        direct=tuple(_key(each) for each in _typed(table["direct"], "texts")),
        staging=_typed(table["staging"], "texts"),
        export=tuple(_variable(each) for each in _typed(table["export"], "texts")),
        task=task,
        sysroot_owner={
            _typed(path, "text"): _typed(owner, "text")
            for path, owner in table["sysroot_owner"].items()
        },
        excluded=excluded,
        programs=tuple(_program(row) for row in table["programs"]),
        sources=tuple(_local_file(row) for row in table["sources"]),
        patches=tuple(_local_file(row) for row in table["patches"]),
    )


def _typed(value: Any, kind: str) -> Any:
    """Return a value if it is of a kind, lists as tuples. Raises ValueError."""
    if kind == "texts" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if (kind == "text" and isinstance(value, str)) or (
        kind == "yes or no" and isinstance(value, bool)
    ):
        return value
    raise ValueError(f"{value!r} is not {kind}")


def _component(text: Any) -> str:
    """Return a text that can be one part of a path. Raises ValueError."""
    if not isinstance(text, str) or not _COMPONENT.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r} can't be a name")
    return text


def _key(text: str, of: str = "") -> str:
    recipe, colon, task = text.partition(":")
    if not colon or (of and (recipe != of.partition(":")[0] or text == of)):
        raise ValueError(f"{text!r} is no task that it can have an edge to")
    return f"{_component(recipe)}:{_component(task)}"


def _variable(text: Any) -> str:
    if not isinstance(text, str) or not VARIABLE_NAME.fullmatch(text):
        raise ValueError(f"{text!r} can't be a variable's name")
    return text


def _texts_by_name(table: dict[str, Any]) -> dict[str, str]:
    return {_variable(name): _typed(value, "text") for name, value in table.items()}


def _program(row: Any) -> tuple[str, str]:
    name, path = row
    if (
        not os.path.isabs(_typed(path, "text"))
        or not _file_name(name)
        or b"\0" in os.fsencode(path)
    ):
        raise ValueError(f"{row!r} is no program")
    return name, path


def _file_name(name: Any) -> bool:
    """Tell whether a file can be called so; a name that is no text, or can't be encoded, raises
    ValueError.
    """
    text = os.fsencode(_typed(name, "text"))
    return text not in (b"", b".", b"..") and b"/" not in text and b"\0" not in text


def _local_file(row: list[Any]) -> LocalFile:
    name, mode, oid, attributes = row
    if not _file_name(name) or stat.S_IFMT(mode) not in _FILES:
        raise ValueError(f"{row!r} is no file")
    pair = Pair(_oid(oid), _oid(attributes) if attributes else None)
    is_directory = stat.S_ISDIR(mode)
    return LocalFile(name, FileNode(mode, pair=pair) if is_directory else FileNode(mode, _oid(oid)))


def _oid(text: str) -> Oid:
    oid = bytes.fromhex(text)
    if len(oid) != 20:
        raise ValueError(f"{text!r} is no id")
    return oid
