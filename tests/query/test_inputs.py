"""Inputs and edges of task hashes, compared with the objects."""

from __future__ import annotations

from prov.history.inputs import read_inputs
from prov.query.answer import answer
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.store.repository import Store
from tests.query.stores import value


def test_the_views_have_the_inputs_of_every_task_hash(store: Store) -> None:
    hashes = answer(store, "select distinct task_hash, task from runs").rows
    for row in hashes[::7]:
        text, task = map(str, row)
        task_hash = TaskHash(bytes.fromhex(text))
        inputs = read_inputs(store.objects, TaskKey(task), task_hash)
        own = answer(store, f"select kind, name, id from inputs where task_hash = '{text}'").rows
        assert set(own) == {(*named, entry.oid.hex()) for named, entry in inputs.own.items()}
        edges = answer(store, f"select kind, needed, id from edges where task_hash = '{text}'").rows
        assert set(edges) == {(*edge, oid and oid.hex()) for edge, oid in inputs.edges.items()}


def test_variables_have_values(store: Store) -> None:
    query = "select value, id from inputs where kind = 'variable' and name = 'CFLAGS' limit 1"
    text, blob = answer(store, query).rows[0]
    assert store.objects.blob(bytes.fromhex(str(blob))).decode() == text
    assert value(store, "select count(value) from inputs where kind != 'variable'") == 0


def test_an_edge_leads_to_a_run(store: Store) -> None:
    outputs = "select count(*) from edges where kind != 'after' and id not in"
    assert value(store, f"{outputs} (select output from runs where output is not null)") == 0
    hashes = "select count(*) from edges where kind = 'after' and id not in"
    assert value(store, f"{hashes} (select task_hash from runs)") == 0
