"""Tests of recorded tasks: reading own inputs and making nodes without a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prov.errors import NameUnknown, StoreError
from prov.recipes.graph import Node
from prov.recipes.recipe import TOOLCHAIN
from prov.records.keys import TaskKey
from prov.records.run import write_run
from prov.store.objects import MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.definition import define
from prov.tasks.recorded import (
    RecordedInputs,
    RecordedTask,
    graph_of,
    make_node,
    own_inputs,
    read_task,
)
from prov.tasks.taskhash import InputsReader, task_hash
from tests.records.samples import BY, oid, output_id, sample_run
from tests.records.samples import task_hash as hash_of
from tests.tasks.samples import KEY, TOOLS, node_of

EDGES = {
    "after": ("zlib:configure",),
    "from": ("src:install",),
    "needs": ("libc:stage", "gcc:stage"),
}


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer that stores objects in memory."""
    return store.objects.writer(memory=True)


def node() -> Node:
    """Return a node with inputs and edges of all kinds."""
    return node_of(
        "do_it\n",
        variables={"CC": "gcc", "CFLAGS": "-O2", "DATE": "today", "UNUSED": "x"},
        functions={"do_it": "$CC $CFLAGS $DATE\n"},
        task={
            "postprocess": "ldconfig\n",
            "hosttools": (TOOLCHAIN,),
            "vardepsexclude": ("DATE",),
            "outputdir": ("image",),
        },
        edges=EDGES,
        export=("CC",),
        sysroot_owner={b"usr/bin/ar": "gcc"},
    )


def hex_edges(node: Node) -> dict[str, dict[str, str]]:
    """Return a node's edges in the form of the inputs tree."""
    return {
        "after": {key.task: hash_of(key).hex() for key in node.after},
        "from": {key: output_id(key).hex() for key in node.from_},
        "needs": {key: output_id(key).hex() for key in node.needs},
    }


def recorded(
    store: Store, node: Node, *, edges: Mapping[str, Mapping[str, str]] | None = None, **fields: Any
) -> RecordedTask:
    """Record a run of a node, read it back and return it."""
    reader = InputsReader(
        store, store.objects.writer(), lambda _tools, _key: TOOLS, environment={"TERM": "dumb"}
    )
    with store.objects.writer() as writer:
        own = reader.own(node, writer)
        oid = task_hash(writer, own, hex_edges(node) if edges is None else edges)
        run = replace(
            sample_run(writer, KEY),
            task_hash=oid,
            definition=define(node, "compile", own),
            **fields,
        )
        commit = write_run(writer, run, BY).commit
    return read_task(store, KEY, commit)


# reading


def test_a_task_is_read_from_its_run(store: Store) -> None:
    task = recorded(store, node())
    assert (task.key, task.recipe) == (KEY, "zlib")
    assert task.hashes == {TaskKey("zlib:configure"): hash_of("zlib:configure")}
    assert task.outputs == {
        ("from", "src:install"): output_id("src:install"),
        ("needs", "libc:stage"): output_id("libc:stage"),
        ("needs", "gcc:stage"): output_id("gcc:stage"),
    }
    assert task.edges == ("zlib:configure", "src:install", "libc:stage", "gcc:stage")
    assert ("variable", "CC") in task.own
    assert ("variable", "DATE") not in task.own


def test_a_node_is_made_without_a_recipe(store: Store) -> None:
    first = node()
    again = make_node(store.objects, recorded(store, first))
    assert (again.key, again.arch) == (first.key, first.arch)
    assert (again.after, again.from_, again.needs) == (first.after, first.from_, first.needs)
    for name in ("script", "postprocess", "outputdir", "hosttools", "vardepsexclude", "dir"):
        assert getattr(again.task, name) == getattr(first.task, name)
    values = {name: setting.value for name, setting in again.recipe.variables.items()}
    assert values == {"CC": "gcc", "CFLAGS": "-O2", "DATE": "today"}
    assert again.recipe.functions == first.recipe.functions
    assert again.recipe.sysroot_owner == first.recipe.sysroot_owner
    assert again.recipe.path == Path("zlib as recorded")


def test_the_hash_is_the_same_without_a_recipe(store: Store, writer: ObjectWriter) -> None:
    first = node()
    task = recorded(store, first)
    own = RecordedInputs(store.objects, {KEY: task}).own(make_node(store.objects, task), writer)
    record = store.objects.commit(task.commit or b"")
    inputs = store.objects.entry(store.objects.commit(record.parents[1]).tree, "inputs")
    assert inputs is not None
    assert task_hash(writer, own, hex_edges(first)) == inputs.oid
    assert own.environment == {"TERM": "dumb"}
    assert own.toolchain == TOOLS
    assert own.reached.functions == ("do_it",)
    assert own.reached.variables == ("CC", "CFLAGS", "DATE")


# invalid records


def test_a_record_with_different_edges_is_rejected(store: Store) -> None:
    edges = {**hex_edges(node()), "after": {}}
    with pytest.raises(
        StoreError, match="zlib:compile: its definition and its inputs have different edges"
    ):
        recorded(store, node(), edges=edges)


def test_a_variable_with_an_invalid_name_is_rejected(store: Store, writer: ObjectWriter) -> None:
    task = recorded(store, node())
    evil = Entry(b"A; rm -rf /", MODE_FILE, oid("x"))
    own = {**task.own, ("variable", "A; rm -rf /"): evil}
    with pytest.raises(StoreError, match="is not a valid variable name"):
        own_inputs(store.objects, writer, replace(task, own=own))


def test_a_record_without_host_tools_is_rejected(store: Store, writer: ObjectWriter) -> None:
    task = recorded(store, node())
    own = {name: entry for name, entry in task.own.items() if name[0] != "host tools"}
    with pytest.raises(StoreError, match="has no host tools"):
        own_inputs(store.objects, writer, replace(task, own=own))


def test_missing_host_tools_are_named(store: Store) -> None:
    task = recorded(store, node())
    with store.objects.writer() as writer:
        blob = writer.add("blob", f"{oid('gone').hex()}\n".encode())
    own = {**task.own, ("host tools", ""): Entry(b"host-toolchain", MODE_FILE, blob)}
    with pytest.raises(StoreError, match=r"host tools of zlib:compile .* are not in the store"):
        own_inputs(store.objects, store.objects.writer(memory=True), replace(task, own=own))


# graphs


def chain(store: Store, edges: Mapping[str, str]) -> dict[TaskKey, RecordedTask]:
    """Return recorded tasks that each depend on at most one other."""
    task = recorded(store, node())
    tasks = {}
    for name, before in edges.items():
        from_ = (before,) if before else ()
        definition = replace(task.definition, after=(), from_=from_, needs=(), direct=())
        tasks[TaskKey(name)] = replace(task, key=TaskKey(name), definition=definition)
    return tasks


def test_a_graph_contains_dependencies_of_targets(store: Store) -> None:
    tasks = chain(store, {"a:x": "", "b:x": "a:x", "c:x": "b:x", "other:x": ""})
    graph = graph_of(store.objects, tasks, [TaskKey("c:x")])
    assert list(graph.nodes) == ["a:x", "b:x", "c:x"]
    assert graph.targets == ("c:x",)


def test_a_task_that_is_not_recorded_is_named(store: Store) -> None:
    tasks = chain(store, {"b:x": "a:x"})
    with pytest.raises(NameUnknown, match="a:x is not recorded, but b:x needs it"):
        graph_of(store.objects, tasks, [TaskKey("b:x")])
    with pytest.raises(NameUnknown, match=r"c:x is not recorded$"):
        graph_of(store.objects, tasks, [TaskKey("c:x")])


def test_a_cycle_is_rejected(store: Store) -> None:
    tasks = chain(store, {"a:x": "b:x", "b:x": "a:x"})
    with pytest.raises(StoreError, match="needs itself"):
        graph_of(store.objects, tasks, [TaskKey("a:x")])
