"""`prov farm` and `prov worker`: certificates, status, and wrong use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run_prov
from tests.farm.machines import machines
from tests.schema.check import read_answer

pytestmark = pytest.mark.process


def test_credentials(tmp_path: Path) -> None:
    farm = f"--credentials={tmp_path / 'farm'}"
    done = run_prov("farm", "init", farm, "--host=build1.example.org")
    assert (done.returncode, done.stderr) == (0, f"created a farm in {tmp_path / 'farm'}\n")
    again = run_prov("farm", "init", farm)
    assert again.returncode == 1
    assert "is a farm already" in again.stderr
    done = run_prov("farm", "credentials", "w1", str(tmp_path / "w1"), farm)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "w1").iterdir()) == [
        "ca.pem",
        "certificate.pem",
        "key.pem",
    ]
    done = run_prov("farm", "credentials", "w 1", str(tmp_path / "w1"), farm)
    assert "invalid name 'w 1' of a worker" in done.stderr


def test_status(tmp_path: Path) -> None:
    with machines(tmp_path / "home", "w1") as farm:
        shown = farm.run("farm", "status", farm.address)
        assert "w1  1 job  tls://" in shown.stdout
        answer = read_answer(farm.run("farm", "status", farm.address, "--json").stdout)
        assert [worker["name"] for worker in answer["workers"]] == ["w1"]
    gone = farm.run("farm", "status", farm.address)
    assert gone.returncode == 1
    assert f"cannot reach the farm {farm.address}" in gone.stderr
