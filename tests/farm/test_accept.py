"""Results of workers that lie are rejected, and a result is recorded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.farm.accept import Rejected, accept
from prov.farm.exchange import open_exchange
from prov.records.ids import CommitId
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit
from prov.store.repository import Store
from tests.commands import run_prov
from tests.farm.direct import DirectFarm
from tests.farm.hostile_worker import LIES, lying
from tests.farm.machines import RECIPE, outputs, sound, write_project

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the results that one machine produces."""
    project = write_project(tmp_path_factory.mktemp("honest") / "project", {"a": RECIPE})
    assert run_prov("build", "world", cwd=project).returncode == 0
    return outputs(project)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_changes_no_result(honest: dict[str, str], tmp_path: Path, lie: str) -> None:
    farm = DirectFarm(tmp_path / "workers")
    farm.answers["w1"] = lying(lie)
    project = write_project(tmp_path / "project", {"a": RECIPE})
    summary, shown = farm.build(project)
    assert summary.ok
    assert "w1" in farm.orders
    assert any("running it elsewhere" in note for note in shown.notes)
    assert outputs(project) == honest
    sound(project)


def test_only_orders_have_results(store: Store, tmp_path: Path) -> None:
    farm = DirectFarm(tmp_path / "workers")
    with store.objects.writer() as writer:
        commit = CommitId(writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, "x\n")))
    with (
        open_exchange(store) as exchange,
        pytest.raises(Rejected, match=f"commit {commit.hex()} is not an order"),
    ):
        accept(store, farm.credentials, exchange, commit, False)
