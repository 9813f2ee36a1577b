"""Orders that the coordinator writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.farm.order import ORDER_MESSAGE, read_order
from prov.records.keys import TaskKey
from prov.store.repository import Store
from tests.farm.direct import DirectFarm, honest
from tests.farm.machines import RECIPE, write_project

pytestmark = pytest.mark.process


def test_an_order_holds_what_a_task_starts_from(tmp_path: Path) -> None:
    farm = DirectFarm(tmp_path / "workers")
    project = write_project(tmp_path / "project", {"a": RECIPE})
    orders: list[bytes] = []
    farm.answers["w1"] = lambda site, message: orders.append(message) or honest(site, message)  # type: ignore[func-returns-value]
    assert farm.build(project)[0].ok
    assert len(orders) == 3
    store = farm.sites["w1"].store
    kept = [store.objects.commit(oid) for oid in store.refs.list("refs/farm/").values()]
    read = [
        read_order(store.objects, commit.tree) for commit in kept if commit.message == ORDER_MESSAGE
    ]
    by_task = {order.facts.key: order for order in read}
    assert by_task.keys() == {"a:one", "a:two", "a:three"}
    one, two = by_task[TaskKey("a:one")], by_task[TaskKey("a:two")]
    assert one.tools == two.tools
    assert one.facts.nonce != two.facts.nonce
    assert (one.facts.python, one.facts.network, one.held) == ("", False, frozenset())
    own = Store.open(project / ".prov")
    assert own.objects.commit(bytes.fromhex(two.facts.start)).tree == two.start.tree
    assert {entry.name for entry in own.objects.tree(two.start.tree)} == {b"a", b"out"}
