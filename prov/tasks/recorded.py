"""Make tasks from their records, without recipes, for the scheduler and workers to run.

The inputs tree contains what was hashed, the run's definition the rest. Own inputs (a variable, a
source, a text) are separate entries, so a task can also be combined from the inputs of two runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import FORGET_RUN, NameUnknown, StoreError
from prov.recipes.graph import Graph, Node
from prov.recipes.recipe import VARIABLE_NAME, Recipe, Setting, Source, Task
from prov.recipes.variables import Reached
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import decode_lines
from prov.records.own_entries import OwnEntries, flatten, unflatten
from prov.records.record import read_edge_id, read_run_record
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.tasks.definition import Definition, read_definition
from prov.tasks.job import Taken
from prov.tasks.taskhash import LocalFile, OwnInputs
from prov.tasks.toolchain import Toolchain
from prov.worktree.attributes import TreeReader, TreeWriter


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """A recorded task, with everything needed to run it."""

    key: TaskKey
    own: OwnEntries
    definition: Definition
    outputs: Mapping[tuple[str, str], Oid]
    """(`from` or `needs`, task) -> the output it used."""
    hashes: Mapping[TaskKey, TaskHash] = field(default_factory=dict)
    """Task it came after -> that task's hash."""
    commit: Oid | None = None
    """The commit of the run; None for a combined task."""

    @property
    def recipe(self) -> str:
        return self.key.recipe

    def edge_ids(self) -> dict[str, dict[str, str]]:
        """Return the ids of its edges in the form of the inputs tree."""
        ids: dict[str, dict[str, str]] = {"from": {}, "needs": {}}
        ids["after"] = {key.task: task_hash.hex() for key, task_hash in self.hashes.items()}
        for (kind, producer), output in self.outputs.items():
            ids[kind][producer] = output.hex()
        return ids

    @property
    def edges(self) -> tuple[TaskKey, ...]:
        definition = self.definition
        return _keys((*definition.after, *definition.from_, *definition.needs))


def _keys(texts: Iterable[str]) -> tuple[TaskKey, ...]:
    return tuple(TaskKey(text) for text in texts)


def read_task(store: Store, key: TaskKey, commit: Oid) -> RecordedTask:
    """Return the task recorded by a run's commit. Raises StoreError if its record is invalid."""
    record = read_run_record(store.objects, commit)
    text = record.definition(store.objects)
    return task_of(store.objects, key, record.task_hash, text, commit)


def task_of(
    reader: TreeReader,
    key: TaskKey,
    task_hash: Oid | None,
    text: bytes,
    commit: Oid | None = None,
) -> RecordedTask:
    """Return the task with an inputs tree and the text of a definition. Raises StoreError."""
    definition = read_definition(text, key)
    if task_hash is None:
        raise StoreError(
            f"the record of {key} has no inputs", hint="run `git fsck` to list missing objects"
        )
    entries = reader.tree(task_hash)
    outputs = {
        (os.fsdecode(entry.name), os.fsdecode(below.name)): read_edge_id(reader, below.oid)
        for entry in entries
        if entry.name in (b"from", b"needs")
        for below in reader.tree(entry.oid)
    }
    recipe = key.recipe
    hashes = {
        TaskKey.of(recipe, os.fsdecode(below.name)): TaskHash(read_edge_id(reader, below.oid))
        for entry in entries
        if entry.name == b"after"
        for below in reader.tree(entry.oid)
    }
    edges = {
        *definition.after,
        *(("from", producer) for producer in definition.from_),
        *(("needs", producer) for producer in definition.needs),
    }
    if edges != {*hashes, *outputs}:
        raise StoreError(
            f"invalid record of {key}: its definition and its inputs have different edges",
            hint=FORGET_RUN,
        )
    return RecordedTask(key, flatten(reader, entries), definition, outputs, hashes, commit)


def own_inputs(reader: TreeReader, sink: TreeWriter, task: RecordedTask) -> OwnInputs:
    """Return a task's own inputs in the form that workers use."""
    definition = task.definition
    reached = Reached(
        tuple(sorted({*_names(task.own, "variable"), *definition.excluded})),
        tuple(_names(task.own, "function")),
    )
    environment = task.own.get(("environment", ""))
    return OwnInputs(
        entries=unflatten(sink, task.own),
        reached=reached,
        toolchain=Toolchain(toolchain_tree(reader, task), definition.programs),
        environment=decode_lines(reader.blob(environment.oid), "=") if environment else {},
        capture=_text(reader, task.own, "capture settings"),
        sources=_files(definition.sources, task.own, "source"),
        patches=_files(definition.patches, task.own, "patch"),
    )


def _names(own: OwnEntries, kind: str) -> list[str]:
    """Return the names of variables or functions, which become parts of a script.

    Raises StoreError for an invalid name.
    """
    names = sorted(name for other, name in own if other == kind)
    for name in names:
        if not VARIABLE_NAME.fullmatch(name):
            raise StoreError(
                f"invalid record: {name!r} is not a valid {kind} name", hint=FORGET_RUN
            )
    return names


def _text(reader: TreeReader, own: OwnEntries, kind: str, name: str = "") -> str:
    entry = own.get((kind, name))
    return reader.blob(entry.oid).decode("utf-8", "surrogateescape") if entry else ""


def _files(files: tuple[LocalFile, ...], own: OwnEntries, kind: str) -> tuple[LocalFile, ...]:
    return tuple(file for file in files if (kind, file.name) in own)


def toolchain_tree(reader: TreeReader, task: RecordedTask) -> Oid:
    """Return the tree of a task's host tools. Raises StoreError if it is not in the store."""
    entry = task.own.get(("host tools", ""))
    if entry is None:
        raise StoreError(f"the record of {task.key} has no host tools", hint=FORGET_RUN)
    tree = read_edge_id(reader, entry.oid)
    try:
        reader.tree(tree)
    except StoreError as error:
        raise StoreError(
            f"the host tools of {task.key} ({tree.hex()[:12]}) are not in the store",
            hint="run the command on the machine that built the task",
        ) from error
    return tree


def make_node(reader: TreeReader, task: RecordedTask) -> Node:
    """Return a task as a node of a graph."""
    definition, own = task.definition, task.own
    name = task.key.task
    variables = {each: Setting(value, "recorded") for each, value in definition.excluded.items()}
    variables |= {
        each: Setting(_text(reader, own, "variable", each), "recorded")
        for each in _names(own, "variable")
    }
    made = Task(
        name=name,
        script=_text(reader, own, "script"),
        postprocess=_text(reader, own, "postprocess"),
        vardepsexclude=tuple(definition.excluded),
        **definition.task,
    )
    recipe = Recipe(
        name=task.recipe,
        version=definition.version,
        arch=definition.arch,
        path=Path(f"{task.recipe} as recorded"),
        sources=_sources(definition),
        export=definition.export,
        variables=variables,
        functions={each: _text(reader, own, "function", each) for each in _names(own, "function")},
        tasks={name: made},
        sysroot_owner={
            os.fsencode(path): owner for path, owner in definition.sysroot_owner.items()
        },
    )
    return Node(
        key=task.key,
        recipe=recipe,
        task=made,
        arch=definition.arch_name,
        after=_keys(definition.after),
        from_=_keys(definition.from_),
        needs=_keys(definition.needs),
        direct=frozenset(_keys(definition.direct)),
        staging=definition.staging,
    )


def _sources(definition: Definition) -> tuple[Source, ...]:
    rows = json.loads(definition.excluded.get("SOURCES", "[]"))
    fields = ("name", "url", "sha256", "git", "commit", "unpack")
    try:
        return tuple(
            Source(**{field: row[field] for field in fields if field in row}) for row in rows
        )
    except TypeError as error:
        raise StoreError(
            f"invalid record: a source has no name: {error}", hint=FORGET_RUN
        ) from error


def graph_of(
    reader: TreeReader, tasks: Mapping[TaskKey, RecordedTask], targets: Iterable[TaskKey]
) -> Graph:
    """Return the graph of the recorded tasks that targets depend on.

    Raises NameUnknown for a task that is not recorded.
    """
    keys = tuple(targets)
    nodes: dict[TaskKey, Node] = {}
    pending: list[tuple[TaskKey, bool]] = [(key, False) for key in reversed(keys)]
    asker, begun = "", set[str]()
    while pending:
        key, ready = pending.pop()
        if key in nodes:
            continue
        task = tasks.get(key)
        if task is None:
            user = f", but {asker} needs it" if asker else ""
            raise NameUnknown(
                f"{key} is not recorded{user}",
                hint="choose a build that contains it (`prov builds` lists builds)",
            )
        if ready:
            nodes[key] = make_node(reader, task)
        elif key in begun:
            raise StoreError(
                f"invalid record: dependency cycle: {key} needs itself through {asker}",
                hint=FORGET_RUN,
            )
        else:
            asker = key
            begun.add(key)
            pending.append((key, True))
            pending += [(edge, False) for edge in reversed(task.edges) if edge not in nodes]
    return Graph(nodes, keys)


def taken_output(definition: Definition, key: TaskKey, output: OutputId) -> Taken:
    """Return how a recorded task uses the output of a different task."""
    texts = {text.split(" ")[0]: text.split(" ")[1:] for text in definition.staging}
    where, *folders = texts.get(key, ["target"])
    paths = [os.fsencode(path.removeprefix("${WORKDIR}/").rstrip("/")) for path in folders]
    return Taken(key, output, tuple(paths), where == "native", direct=key in definition.direct)


@dataclass(frozen=True, slots=True)
class RecordedInputs:
    """Provides the own inputs of recorded or combined tasks."""

    reader: TreeReader
    tasks: Mapping[TaskKey, RecordedTask]

    def own(self, node: Node, sink: TreeWriter) -> OwnInputs:
        return own_inputs(self.reader, sink, self.tasks[node.key])
