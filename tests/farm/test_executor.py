"""Builds on a farm: the same results as on one machine, whatever happens to the workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.commands import PROV, run_prov
from tests.farm.machines import (
    RECIPE,
    Machines,
    machines,
    outputs,
    sound,
    until,
    variables,
    write_project,
)

pytestmark = pytest.mark.process

KILLS = int(os.environ.get("FARM_KILLS", "3"))
SLEEP = """\
version = "1"
build = ["go"]
[tasks.go]
script = "echo begun; sleep {seconds}; echo done > out/x"
outputdir = "out"
"""


def recipes(word: str = "three") -> dict[str, str]:
    text = RECIPE.format(word=word)
    four = '[tasks.four]\nneeds = ["lib:three"]\nscript = "ls $RECIPE_SYSROOT > x"\n'
    return {"lib": text, "app": text.replace('["three"]', '["four"]') + four}


def test_a_farm_makes_the_same_results(farm: Machines, tmp_path: Path) -> None:
    here = write_project(tmp_path / "here", recipes())
    there = write_project(tmp_path / "there", recipes())
    assert run_prov("build", "world", cwd=here).returncode == 0
    done = farm.build(there, "world")
    assert done.returncode == 0, done.stderr + farm.log
    assert " at w" in done.stderr
    assert outputs(here) == outputs(there)
    sound(there)
    again = farm.build(there, "world")
    assert "nothing to do" in again.stdout
    assert "\nworker       w" in run_prov("show", "lib:two", cwd=there).stdout


@pytest.mark.farm
def test_a_changed_recipe_runs_again(farm: Machines, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", recipes())
    assert farm.build(project, "world").returncode == 0
    (project / "recipes/lib.toml").write_text(RECIPE.format(word="changed"))
    done = farm.build(project, "world")
    assert done.returncode == 0, done.stderr
    assert "2 ran" in done.stdout
    diff = run_prov("diff", "lib:three", cwd=project).stdout
    assert "final/b" in diff


def test_a_failing_script_is_not_retried(farm: Machines, tmp_path: Path) -> None:
    script = 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo wrong; exit 3"\n'
    project = write_project(tmp_path / "project", {"app": script})
    done = farm.build(project, "world")
    assert done.returncode == 1
    assert "failed: app:go: exit status 3" in done.stdout
    assert "wrong" in done.stdout
    assert "elsewhere" not in done.stderr
    assert "wrong" in run_prov("show", "app:go", cwd=project).stdout
    sound(project)


def test_without_workers_tasks_run_here(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", recipes())
    with machines(tmp_path / "home") as farm:
        done = farm.build(project, "world")
    assert done.returncode == 0, done.stderr
    assert " at " not in done.stderr


def test_a_farm_that_cannot_be_reached(farm: Machines, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", recipes())
    begun = time.monotonic()
    done = farm.run("build", "--farm=tls://127.0.0.1:1", "world", cwd=project)
    assert time.monotonic() - begun < 10
    assert done.returncode == 1
    assert "cannot reach the farm tls://127.0.0.1:1" in done.stderr
    done = farm.run("build", "--farm=tcp://127.0.0.1:1", "world", cwd=project)
    assert "invalid address of a farm" in done.stderr


def start_build(farm: Machines, project: Path, *more: str) -> subprocess.Popen[str]:
    command = [PROV, "build", f"--farm={farm.address}", *more, "world"]
    return subprocess.Popen(
        command,
        cwd=project,
        env=variables(farm.folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def scripts(farm: Machines) -> dict[str, Path]:
    """Return the logs of tasks that have begun, by worker."""
    found = farm.folder.glob(".cache/prov/*/work/*/*/*/temp/log.go")
    return {
        path.relative_to(farm.folder).parts[2]: path
        for path in found
        if "begun" in path.read_text()
    }


def test_a_task_of_a_killed_worker_runs_elsewhere(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"app": SLEEP.format(seconds=2)})
    with machines(tmp_path / "home", "w1", "w2") as farm:
        build = start_build(farm, project)
        until(lambda: scripts(farm), "running task")
        (victim,) = scripts(farm)
        farm.kill(victim)
        out, err = build.communicate(timeout=60)
        assert build.returncode == 0, err + farm.log
        assert f"worker {victim} was lost; running it elsewhere" in err
        assert "1 ran" in out
    sound(project)


@pytest.mark.farm
def test_a_task_that_loses_workers_fails_with_the_whole_story(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"app": SLEEP.format(seconds=60)})
    with machines(tmp_path / "home", "w1", "w2", "w3", "w4") as farm:
        build = start_build(farm, project)
        victims: list[str] = []
        for _ in range(3):
            until(lambda: scripts(farm).keys() - {*victims}, "running task")
            (victim,) = scripts(farm).keys() - {*victims}
            victims.append(victim)
            farm.kill(victim)
        out, _ = build.communicate(timeout=60)
    assert build.returncode == 1
    for victim in victims:
        assert f"worker {victim} was lost" in out
    sound(project)


def test_an_interrupted_build_stops_its_orders(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"app": SLEEP.format(seconds=600)})
    with machines(tmp_path / "home", "w1") as farm:
        build = start_build(farm, project)
        until(lambda: scripts(farm), "running task")
        build.send_signal(signal.SIGINT)
        build.communicate(timeout=30)
        assert build.returncode == 130
        until(lambda: "sleep 600" not in processes(), "end of the task's processes")
        # the worker serves the next build
        quick = write_project(tmp_path / "quick", {"app": SLEEP.format(seconds=0)})
        assert farm.build(quick, "world").returncode == 0


def processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_the_next_build_records_what_a_killed_build_ordered(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"app": SLEEP.format(seconds=3)})
    with machines(tmp_path / "home", "w1") as farm:
        build = start_build(farm, project)
        until(lambda: scripts(farm), "running task")
        build.kill()
        build.communicate()
        incoming = lambda: [*(project / ".prov/prov/farm").glob("*/refs/incoming/*")]  # noqa: E731
        until(incoming, "result")
        done = farm.build(project, "world")
    assert "recorded the result that w1 sent to an earlier build" in done.stderr
    assert "nothing to do" in done.stdout
    assert [*(project / ".prov/prov/farm").iterdir()] == []
    sound(project)


@pytest.mark.farm
def test_builds_killed_at_any_time_lose_nothing(farm: Machines, tmp_path: Path) -> None:
    here, there = (write_project(tmp_path / name, recipes()) for name in ("here", "there"))
    assert run_prov("build", "world", cwd=here).returncode == 0
    for _ in range(KILLS):
        build = start_build(farm, there)
        time.sleep(random.uniform(0.5, 4))
        build.kill()
        build.communicate()
    done = farm.build(there, "world")
    assert done.returncode == 0, done.stderr
    assert outputs(here) == outputs(there)
    sound(there)


@pytest.mark.farm
def test_two_builds_at_once(farm: Machines, tmp_path: Path) -> None:
    here, there = (write_project(tmp_path / name, recipes()) for name in ("here", "there"))
    assert run_prov("build", "world", cwd=here).returncode == 0
    builds = [start_build(farm, there) for _ in range(2)]
    for build in builds:
        _, err = build.communicate(timeout=120)
        assert build.returncode == 0, err
    assert outputs(here) == outputs(there)
    sound(there)


def test_a_result_is_verified_at_a_second_worker(farm: Machines, tmp_path: Path) -> None:
    script = "head -c8 /dev/urandom > out/x; echo > out/y"
    text = f'version = "1"\nbuild = ["go"]\n[tasks.go]\noutputdir = "out"\nscript = "{script}"\n'
    project = write_project(tmp_path / "project", {"app": text})
    with (project / "prov.toml").open("a") as settings:
        settings.write("verify = 1.0\n")
    done = farm.build(project, "world")
    assert done.returncode == 0, done.stderr
    assert "app:go is not reproducible" in done.stderr
    assert "differs: M out/x\n" in done.stderr
    differing = run_prov("reproduce", "--recorded", cwd=project).stdout
    assert "app:go" in differing


@pytest.mark.farm
def test_a_full_disk_of_a_worker_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system requires root")
    project = write_project(tmp_path / "project", {"app": SLEEP.format(seconds=0)})
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small], check=True)
    try:
        with machines(tmp_path / "home") as farm:
            farm.add("w1", f"--folder={small}")
            done = farm.build(project, "world")
            assert done.returncode == 0, done.stderr
            assert "worker w1 could not run the task" in done.stderr
            assert "No space left" in done.stderr
            assert "running it on this machine" in done.stderr
    finally:
        time.sleep(0.2)
        subprocess.run(["umount", "-l", small], check=True)
    sound(project)
