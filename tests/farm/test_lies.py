"""A worker that lies changes no result: its answers are rejected, and the task runs elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import run_prov
from tests.farm.hostile_worker import LIES
from tests.farm.machines import HOSTILE, Machines, machines, outputs, sound, write_project

pytestmark = pytest.mark.process

APP = {
    "app": 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo x > out/x"\noutputdir = "out"'
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Yield a farm with an honest worker."""
    with machines(tmp_path_factory.mktemp("lies") / "home", "w2") as farm:
        yield farm


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = write_project(tmp_path_factory.mktemp("honest") / "project", APP)
    assert run_prov("build", "world", cwd=project).returncode == 0
    return outputs(project)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_changes_no_result(
    two: Machines, honest: dict[str, str], tmp_path: Path, lie: str
) -> None:
    project = write_project(tmp_path / "project", APP)
    two.add("w1", program=HOSTILE, LIE=lie)
    try:
        done = two.build(project, "world")
    finally:
        two.kill("w1")
    assert done.returncode == 0, done.stderr
    assert "running it elsewhere" in done.stderr
    assert "at w2" in done.stderr
    assert outputs(project) == honest
    tags = subprocess.run(
        ["git", "--git-dir=.prov", "tag", "--list", "app/*"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(tags) == 1
    sound(project)
