"""The definition in a run's record: what running it again needs besides the hashed inputs.

A task hash leaves out what must not change it: where a source was fetched from, variables that are
excluded, which of the host's programs the tools are. All of it is one JSON text in the run's
record.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import asdict

from prov.errors import FORGET_RUN, StoreError
from prov.recipes.graph import Node
from prov.recipes.recipe import Interpreter
from prov.recipes.tables import END, VariableName
from prov.records.keys import TaskKey
from prov.store.objects import Oid
from prov.tasks.taskhash import LocalFile, OwnInputs
from prov.worktree.attributes import FileNode, Pair

FORMAT = 1
OID_SIZE = 20
_FILE_TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_NO_DOTS = r"^(?!.*\.\.)"
_Component = Annotated[str, Meta(pattern=rf"{_NO_DOTS}{_NAME}{END}")]
"""A text that can be one part of a path."""
_Key = Annotated[str, Meta(pattern=rf"{_NO_DOTS}{_NAME}:{_NAME}{END}")]
_LocalFileRow = tuple[str, int, str, str]
"""Name, mode, oid of the blob or tree in hex, and that of the attributes or an empty text."""


class _TaskFields(Struct, frozen=True):
    """Fields of a task that its inputs hold as one text, or not at all."""

    dir: str
    outputdir: tuple[str, ...]
    inputs: tuple[str, ...]
    interpreter: Interpreter
    hosttools: tuple[str, ...]
    network: bool
    deploy: bool


class _Header(Struct, frozen=True):
    """What every version's definition begins with."""

    format: int


class _Table(Struct, frozen=True):
    """A definition as it is written; keys that are not listed are ignored."""

    version: str
    arch: str
    arch_name: _Component
    chain: _Component
    after: tuple[_Key, ...]
    from_: tuple[_Key, ...] = msgspec.field(name="from")
    needs: tuple[_Key, ...]
    direct: tuple[_Key, ...]
    staging: tuple[str, ...]
    task: _TaskFields
    export: tuple[VariableName, ...]
    sysroot_owner: dict[str, str]
    excluded: dict[VariableName, str]
    programs: tuple[tuple[str, str], ...]
    sources: tuple[_LocalFileRow, ...]
    patches: tuple[_LocalFileRow, ...]


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
        "task": {name: getattr(task, name) for name in _TaskFields.__struct_fields__},
        "export": recipe.exports(task),
        "sysroot_owner": {os.fsdecode(path): owner for path, owner in recipe.sysroot_owner.items()},
        "excluded": {
            name: recipe.variables[name].value
            for name in sorted(left_out)
            if name in recipe.variables
        },
        "programs": own.toolchain.programs,
        "sources": [_row(file) for file in own.sources],
        "patches": [_row(file) for file in own.patches],
    }
    rows = ",\n".join(
        f'"{name}": {json.dumps(value, sort_keys=True)}' for name, value in sorted(table.items())
    )
    return f"{{\n{rows}\n}}\n".encode()


def _row(file: LocalFile) -> list[Any]:
    node = file.node
    oid = node.pair.tree if node.is_directory else node.oid
    attributes = node.pair.attributes
    return [file.name, node.mode, oid.hex(), attributes.hex() if attributes else ""]


def read_definition(text: bytes, key: TaskKey) -> Definition:
    """Return what `define` wrote.

    Raises StoreError for a record without a definition, or with one that can't be trusted: a record
    may come from a remote, and parts of it become parts of paths and scripts.
    """
    if not text:
        raise StoreError(
            f"the run of {key} was recorded without what is needed to run it again",
            hint=(
                "it is no recipe's, or from an older prov; `prov checkout` puts its WORKDIR on disk"
            ),
        )
    try:
        # not msgspec's own reader: names that are not UTF-8 are in the text as lone surrogates
        table = json.loads(text)
        if convert(table, _Header).format != FORMAT:
            raise StoreError(f"the run of {key} was recorded by a later prov", hint="update prov")
        return _definition(convert(table, _Table), TaskKey(convert(key, _Key)))
    except (ValidationError, ValueError, RecursionError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        raise StoreError(
            f"the record of {key} is not what it should be: {reason}",
            hint=FORGET_RUN,
        ) from error


def _definition(table: _Table, key: TaskKey) -> Definition:
    """Return the definition in a table. Raises ValueError."""
    _check_edges(table.after, key)
    _check_sources(table.excluded.get("SOURCES", "[]"))
    return Definition(
        version=table.version,
        arch=table.arch,
        arch_name=table.arch_name,
        chain=table.chain,
        after=table.after,
        from_=table.from_,
        needs=table.needs,
        direct=table.direct,
        staging=table.staging,
        task=asdict(table.task),
        export=table.export,
        sysroot_owner=table.sysroot_owner,
        excluded=table.excluded,
        programs=tuple(_program(*row) for row in table.programs),
        sources=tuple(_local_file(*row) for row in table.sources),
        patches=tuple(_local_file(*row) for row in table.patches),
    )


def _check_edges(after: tuple[str, ...], key: TaskKey) -> None:
    """Raise ValueError unless a task comes after others of its own recipe."""
    recipe = TaskKey(key).recipe
    for other in after:
        if other == key or TaskKey(other).recipe != recipe:
            raise ValueError(f"{key} can't come after {other!r}")


def _check_sources(text: str) -> None:
    """Raise ValueError unless a variable SOURCES is a list of tables."""
    convert(json.loads(text), list[dict[str, Any]])


def _program(name: str, path: str) -> tuple[str, str]:
    if not os.path.isabs(path) or not _is_file_name(name) or b"\0" in os.fsencode(path):
        raise ValueError(f"{name!r} at {path!r} is not a program")
    return name, path


def _is_file_name(name: str) -> bool:
    """Return whether a file can have a name; ValueError is raised for one that can't be encoded."""
    encoded = os.fsencode(name)
    return encoded not in (b"", b".", b"..") and b"/" not in encoded and b"\0" not in encoded


def _local_file(name: str, mode: int, oid: str, attributes: str) -> LocalFile:
    if not _is_file_name(name) or stat.S_IFMT(mode) not in _FILE_TYPES:
        raise ValueError(f"{name!r} of mode {mode:o} is not a file")
    if not stat.S_ISDIR(mode):
        return LocalFile(name, FileNode(mode, _oid(oid)))
    pair = Pair(_oid(oid), _oid(attributes) if attributes else None)
    return LocalFile(name, FileNode(mode, pair=pair))


def _oid(text: str) -> Oid:
    oid = bytes.fromhex(text)
    if len(oid) != OID_SIZE:
        raise ValueError(f"{text!r} is not an id")
    return oid
