"""An order from its writing to the recorded result, without Dask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from prov.farm import executor
from prov.farm.credentials import Credentials
from prov.farm.exchange import KEPT, KeptOrders
from prov.farm.order import Assignment, Receipt, decode, encode
from prov.farm.perform import Site
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.store.repository import Store
from tests.commands import run_prov
from tests.farm.direct import DirectFarm, honest
from tests.farm.machines import RECIPE, outputs, sound, write_project

pytestmark = pytest.mark.process

DIRECT = """\
version = "1"
build = ["use"]
[tasks.use]
needs = ["lib:three"]
outputdir = "out"
script = "ls -R $RECIPE_SYSROOT > out/listing; echo $WORKDIR > out/p"
"""
LOCAL = """\
version = "1"
build = ["go"]
[[sources]]
file = "local.txt"
[tasks.go]
inputs = ["sources"]
outputdir = "out"
interpreter = "python3"
script = '''
import os, shutil
print("begun")
shutil.copy("sources/local.txt", "out/copied")
os.symlink("nowhere", "out/dangling")
'''
"""


@pytest.fixture
def farm(tmp_path: Path) -> DirectFarm:
    return DirectFarm(tmp_path / "workers")


def project_of(folder: Path, **recipes: str) -> Path:
    return write_project(folder, recipes or {"lib": RECIPE.format(word="x"), "app": DIRECT})


def test_results_equal_those_of_one_machine(farm: DirectFarm, tmp_path: Path) -> None:
    here, there = project_of(tmp_path / "here"), project_of(tmp_path / "there")
    assert run_prov("build", "world", cwd=here).returncode == 0
    summary, shown = farm.build(there)
    assert summary.ok, (summary.failed, shown)
    assert len(farm.orders) == 4
    assert outputs(here) == outputs(there)
    sound(there)
    for site in farm.sites.values():
        assert Store.open(site.store.path).refs.list("refs/prov/output/") == {}


def test_a_failed_task_is_recorded_with_its_log(farm: DirectFarm, tmp_path: Path) -> None:
    text = 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo wrong > f; echo no; exit 4"\n'
    project = project_of(tmp_path / "project", app=text)
    summary, _ = farm.build(project)
    (failed,) = summary.failed
    assert (failed.problem, failed.log_tail, failed.place) == ("exit status 4", ["no"], "w1")
    assert farm.orders == ["w1"]
    shown = run_prov("show", "app:go", cwd=project).stdout
    assert "no" in shown
    assert "A f" in run_prov("diff", "app:go", cwd=project).stdout


def test_a_lost_worker_is_named_and_the_third_loss_fails(farm: DirectFarm, tmp_path: Path) -> None:
    def vanish(_site: Site, _message: bytes) -> bytes:
        raise ConnectionError

    farm.answers = dict.fromkeys(("w1", "w2", "w3"), vanish)
    farm.add("w3")
    summary, shown = farm.build(project_of(tmp_path / "project", a=RECIPE))
    (failed,) = summary.failed
    for name in ("w1", "w2", "w3"):
        assert f"worker {name} was lost" in failed.problem
    assert sum("running it elsewhere" in note for note in shown.notes) >= 2


def test_a_worker_keeps_orders_to_fetch_less(farm: DirectFarm, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", a=RECIPE)
    fetched: list[int] = []

    def measured(site: Site, message: bytes) -> bytes:
        answer = honest(site, message)
        body, _ = farm.credentials.verify(answer, "worker")
        fetched.append(decode(body, Receipt).bytes_fetched)
        return answer

    farm.answers = dict.fromkeys(("w1", "w2"), measured)
    assert farm.build(project)[0].ok
    assert fetched[0] > 100 * max(fetched[1:])
    kept = KeptOrders(farm.sites["w1"].store)
    assert len(farm.sites["w1"].store.refs.list(KEPT)) == 6
    assert kept.holding([b"\0" * 20]) == []
    (project / "recipes/a.toml").write_text(RECIPE.replace("{word}", "{word}!"))
    fetched.clear()
    assert farm.build(project)[0].ok
    assert max(fetched) < 10_000


def test_a_worker_deletes_a_store_that_is_too_large(farm: DirectFarm, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", a=RECIPE)
    assert farm.build(project)[0].ok
    site = farm.sites["w1"]
    assert site.cleaned() is site
    small = replace(site, most=1000).cleaned()
    assert small.store.objects.size() < 1000
    assert not site.work.exists()
    farm.sites["w1"] = small
    (project / "recipes/a.toml").write_text(RECIPE.replace("{word}", "other"))
    assert farm.build(project)[0].ok
    assert farm.orders[-1] == "w1"


def test_a_worker_needs_a_signed_order(farm: DirectFarm) -> None:
    site = farm.sites["w1"]
    order = Assignment(format=1, order="1" * 40, url="/nowhere", roots=[])
    with pytest.raises(Exception, match="is not a coordinator"):
        honest(site, site.credentials.sign(encode(order)))
    stale = farm.credentials.sign(encode(structs.replace(order, format=9)))
    with pytest.raises(Exception, match="has format 9"):
        honest(site, stale)
    answer = honest(site, farm.credentials.sign(encode(order)))
    body, name = Credentials(farm.credentials.folder).verify(answer, "worker")
    receipt = decode(body, Receipt)
    assert (receipt.status, name) == ("unable", "w1")
    assert "/nowhere" in receipt.problem


def test_a_different_output_is_reported(farm: DirectFarm, tmp_path: Path) -> None:
    script = "cat /proc/sys/kernel/random/uuid > out/x"
    text = f'version = "1"\nbuild = ["go"]\n[tasks.go]\noutputdir = "out"\nscript = "{script}"\n'
    project = project_of(tmp_path / "project", app=text)
    farm.verify = 1.0
    summary, shown = farm.build(project)
    assert summary.ok
    assert farm.orders == ["w1", "w2"]
    assert any("app:go is not reproducible: its output at w2" in note for note in shown.notes)
    assert "app:go" in run_prov("reproduce", "--recorded", cwd=project).stdout
    key = TaskKey("app:go")
    store = Store.open(project / ".prov")
    assert Records(store).last_run(key, summary.settled[key].task_hash or b"")[0] == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("differs", [False, True])
def test_the_first_of_two_results_counts(
    farm: DirectFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, differs: bool
) -> None:
    monkeypatch.setattr(executor, "PATIENCE", 0.2)
    farm.delays["w1"] = 3.0
    script = "cat /proc/sys/kernel/random/uuid > out/x" if differs else "echo > out/x"
    text = f'version = "1"\nbuild = ["go"]\n[tasks.go]\noutputdir = "out"\nscript = "{script}"\n'
    project = project_of(tmp_path / "project", app=text)
    summary, shown = farm.build(project)
    assert summary.ok
    assert farm.orders == ["w1", "w2"]
    assert any("no answer from w1 in 0 s; running it twice" in note for note in shown.notes)
    assert any("its output at w1 differs" in note for note in shown.notes) == differs
    settled = summary.settled[TaskKey("app:go")]
    assert settled.task_hash is not None
    store = Store.open(project / ".prov")
    assert Records(store).output(settled.key, settled.task_hash) == settled.output
    sound(project)


def test_local_sources_and_python_tasks(farm: DirectFarm, tmp_path: Path) -> None:
    here, there = (project_of(tmp_path / name, app=LOCAL) for name in ("here", "there"))
    for project in (here, there):
        (project / "recipes/local.txt").write_text("text")
    assert run_prov("build", "world", cwd=here).returncode == 0
    summary, shown = farm.build(there)
    assert summary.ok, (summary.failed, shown.notes)
    assert farm.orders == ["w1"]
    assert outputs(here) == outputs(there)
