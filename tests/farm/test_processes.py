"""The processes of a farm: how they join, and what lying and stopped workers do to a build."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import PROV, run_prov
from tests.farm.machines import (
    HOSTILE,
    Machines,
    machines,
    outputs,
    sound,
    until,
    variables,
    write_project,
)

pytestmark = pytest.mark.process

APP = {
    "app": 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo x > out/x"\noutputdir = "out"'
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Yield a farm with an honest worker."""
    with machines(tmp_path_factory.mktemp("processes") / "home", "w2") as farm:
        yield farm


@pytest.mark.farm
@pytest.mark.parametrize("lie", ["inputs", "bad-parts"])
def test_a_lie_changes_no_result(two: Machines, tmp_path: Path, lie: str) -> None:
    here, there = (write_project(tmp_path / name, APP) for name in ("here", "there"))
    assert run_prov("build", "world", cwd=here).returncode == 0
    two.add("w1", program=HOSTILE, LIE=lie)
    try:
        done = two.build(there, "world")
    finally:
        two.kill("w1")
    assert done.returncode == 0, done.stderr
    assert "running it elsewhere" in done.stderr
    assert "at w2" in done.stderr
    assert outputs(there) == outputs(here)
    sound(there)


@pytest.mark.farm
def test_a_worker_of_another_farm_cannot_join(two: Machines, tmp_path: Path) -> None:
    assert two.run("farm", "init", f"--credentials={tmp_path / 'other'}").returncode == 0
    own = f"--credentials={tmp_path / 'w'}"
    made = two.run(
        "farm", "credentials", "w", str(tmp_path / "w"), f"--credentials={tmp_path / 'other'}"
    )
    assert made.returncode == 0, made.stderr
    process = two.start(
        "stranger", PROV, "worker", f"--scheduler={two.address}", "--name=w", own, "--jobs=1"
    )
    assert process.wait(100) == 1
    log = (two.folder / "stranger.log").read_text()
    assert f"cannot join the scheduler {two.address}" in log
    assert "Traceback" not in log


def test_a_worker_ends_by_a_signal(two: Machines, tmp_path: Path) -> None:
    two.add("w9")
    process = two.workers.pop("w9")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    status = two.run("farm", "status", two.address).stdout
    assert "w9" not in status
    assert "w2  1 job" in status


def test_orders_end_with_the_worker_process(tmp_path: Path) -> None:
    text = 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo begun; sleep 999"\n'
    project = write_project(tmp_path / "project", {"app": text})
    with machines(tmp_path / "home", "w1") as farm:
        command = ["build", f"--farm={farm.address}", "world"]
        with (tmp_path / "log").open("wb") as log:
            build = subprocess.Popen(
                [PROV, *command], cwd=project, env=variables(farm.folder), stdout=log, stderr=log
            )
        logs = farm.folder.glob
        until(lambda: [*logs(".cache/prov/w1/work/*/*/*/temp/log.go")], "running task")
        # only Dask's process: the runner ends when its socket closes
        os.kill(farm.workers["w1"].pid, signal.SIGKILL)
        until(lambda: "sleep 999" not in _commands(), "end of the task")
        build.send_signal(signal.SIGINT)
        build.wait(60)


def _commands() -> str:
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)
