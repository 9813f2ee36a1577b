"""The definition in a run's record: what a rerun needs besides the hashed inputs.

A task hash omits what must not change it: the addresses of sources, excluded variables and the
paths of host tools. The definition stores these as one JSON text in the run's record.
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

from prov.errors import FORGET_RUN, NewerRecord, StoreError
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
"""A text that is valid as one component of a path."""
_Key = Annotated[str, Meta(pattern=rf"{_NO_DOTS}{_NAME}:{_NAME}{END}")]
_LocalFileRow = tuple[str, int, str, str]
"""Name, mode, hex oid of the blob or tree, and hex oid of the attributes or an empty text."""


class _TaskFields(Struct, frozen=True):
    """Fields of a task that the inputs tree lacks or contains only as parts of a text."""

    dir: str
    outputdir: tuple[str, ...]
    inputs: tuple[str, ...]
    interpreter: Interpreter
    hosttools: tuple[str, ...]
    network: bool
    deploy: bool


class _Header(Struct, frozen=True):
    """The key that definitions of all formats have."""

    format: int


class _Table(Struct, frozen=True):
    """A definition as stored; unknown keys are ignored."""

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
    """The parts of a recorded task that its inputs tree lacks."""

    version: str
    arch: str
    """The recipe's `arch`: target, native, …"""
    arch_name: str
    """The architecture's folder name: x86_64, …"""
    chain: str
    after: tuple[str, ...]
    from_: tuple[str, ...]
    needs: tuple[str, ...]
    """Keys of the tasks in its edges, in the order of the recipe."""
    direct: tuple[str, ...]
    staging: tuple[str, ...]
    task: Mapping[str, Any]
    """The fields of `_TaskFields`, by name."""
    export: tuple[str, ...]
    sysroot_owner: Mapping[str, str]
    excluded: Mapping[str, str]
    """Variables that the task uses but that are excluded from its hash."""
    programs: tuple[tuple[str, str], ...]
    """Name and path of each host tool."""
    sources: tuple[LocalFile, ...] = field(default=())
    patches: tuple[LocalFile, ...] = field(default=())


def define(node: Node, chain: str, own: OwnInputs) -> bytes:
    """Return the definition of a task, to be stored in a run's record."""
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
    """Parse the text written by `define`.

    Raises StoreError if it is empty or invalid. It may come from a remote, and parts of it become
    parts of paths and scripts, so it is checked completely.
    """
    if not text:
        raise StoreError(
            f"cannot rerun {key}: its record has no task definition (it is not a recipe's task, or"
            " an older prov recorded it)",
            hint="run `prov checkout` to restore its WORKDIR",
        )
    try:
        # not msgspec's parser: names that are not UTF-8 are stored as lone surrogates
        table = json.loads(text)
        if convert(table, _Header).format != FORMAT:
            raise NewerRecord(f"the run of {key} was recorded by a newer prov", hint="update prov")
        return _definition(convert(table, _Table), TaskKey(convert(key, _Key)))
    except (ValidationError, ValueError, RecursionError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        raise StoreError(
            f"invalid record of {key}: {reason}",
            hint=FORGET_RUN,
        ) from error


def _definition(table: _Table, key: TaskKey) -> Definition:
    """Convert a table. Raises ValueError."""
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
    """Raise ValueError unless all tasks in `after` are other tasks of the same recipe."""
    recipe = TaskKey(key).recipe
    for other in after:
        if other == key or TaskKey(other).recipe != recipe:
            raise ValueError(f"{key} cannot come after {other!r}")


def _check_sources(text: str) -> None:
    """Raise ValueError unless the text is a JSON list of tables."""
    convert(json.loads(text), list[dict[str, Any]])


def _program(name: str, path: str) -> tuple[str, str]:
    if not os.path.isabs(path) or not _is_file_name(name) or b"\0" in os.fsencode(path):
        raise ValueError(f"{name!r} at {path!r} is not a program")
    return name, path


def _is_file_name(name: str) -> bool:
    """Return whether a text is valid as a file name. Raises ValueError if it cannot be encoded."""
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
