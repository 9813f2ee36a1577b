"""Builds with killed processes or a full disk: they continue, and report what is not recorded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bitbake.story import APP, TASKS, BuildDirectory, live, warnings

pytestmark = [pytest.mark.process, live]


def pause(
    story: BuildDirectory, task: str = "do_compile", seconds: float = 2
) -> Callable[[], bool]:
    """Make a task of `app` sleep; return a function that checks whether it has begun."""
    head = f"{task}() {{\n"
    lines = f"    touch ${{TOPDIR}}/paused\n    sleep {seconds}\n"
    if head in (story.root / APP).read_text():
        story.edit(APP, head, head + lines)
    else:
        story.append(
            APP,
            f"{head}{lines}    rm -rf ${{STAGING}}/${{PN}}\n    cp -a ${{D}}"
            " ${STAGING}/${PN}\n}\n",
        )
    return (story.root / "paused").exists


def during(
    story: BuildDirectory,
    disturb: Callable[[], object],
    task: str = "do_compile",
    seconds: float = 2,
) -> str:
    """Build `app`, call `disturb` while a task runs, and return BitBake's output."""
    paused = pause(story, task, seconds)
    running = story.start("bitbake", "app")
    story.wait(paused, f"{task} begins")
    disturb()
    return story.ended(running)


def counted(said: str) -> set[str]:
    """Return the tasks that the warning at the end of a build lists as not recorded."""
    (line,) = (
        line
        for line in warnings(said)
        if " not recorded: " in line and re.match(r"prov: \d+ task", line)
    )
    names = line.partition(" not recorded: ")[2].partition(" (")[0].split()
    assert line.startswith(f"prov: {len(names)} task")
    return set(names)


def is_well_afterwards(story: BuildDirectory) -> None:
    """Assert that the next build is recorded without problems."""
    story.edit(APP, '"hello"', '"goodbye"')
    assert warnings(story.bitbake("app")) == []
    assert story.newest()["result"] == "ok"
    assert story.json("show", "app:do_install")["facts"]["result"] == "ok"
    assert story.json("show", "app:do_compile")["inputs"]["variables/GREETING"] == "goodbye"
    assert story.traces() == [".prov", ".prov.sock.lock"]
    assert story.writers() == []
    story.is_clean()


def test_killed_writer_is_restarted(story: BuildDirectory) -> None:
    said = during(story, story.kill_writer)
    assert "all succeeded" in said
    assert warnings(said) == []
    assert story.newest()["result"] == "ok"
    assert int(story.newest()["ran"]) == 19
    assert story.recorded() == TASKS
    is_well_afterwards(story)


def test_writer_killed_during_the_last_task_is_restarted(story: BuildDirectory) -> None:
    """No later task could restart it."""
    story.setting('PROV_IGNORED_TASKS:append = " do_notes"')
    said = during(story, story.kill_writer, "do_stage")
    assert "all succeeded" in said
    assert warnings(said) == []
    assert int(story.newest()["ran"]) == 18
    is_well_afterwards(story)


def test_tasks_wait_for_a_stopped_writer(story: BuildDirectory) -> None:
    """As on an overloaded machine."""
    waking: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        found = story.writers()[0]
        os.kill(found, signal.SIGSTOP)
        waking.append(subprocess.Popen(["sh", "-c", f"sleep 4; kill -CONT {found}"]))

    assert warnings(during(story, stop, seconds=1)) == []
    assert story.newest()["ran"] == "19"
    assert waking[0].wait() == 0


def test_missing_program(story: BuildDirectory) -> None:
    story.setting('PROV_COMMAND = "/nowhere/prov"')
    said = story.bitbake("app")
    assert "all succeeded" in said
    (line,) = warnings(said)
    assert "this build is not recorded" in line and "/nowhere/prov" in line
    assert story.traces() == []


@pytest.mark.parametrize("program", ["false", "true", "cat", "yes"])
def test_program_that_is_not_prov(story: BuildDirectory, program: str) -> None:
    """A program of another project may have the same name."""
    story.setting(f'PROV_COMMAND = "{program}"')
    said = story.bitbake("words")
    assert "all succeeded" in said
    (line,) = warnings(said)
    assert "this build is not recorded" in line


def test_store_that_is_a_file(story: BuildDirectory) -> None:
    story.write(".prov", "a file\n")
    said = story.bitbake("words")
    assert "all succeeded" in said
    assert 1 <= len(warnings(said)) <= 2
    assert "not recorded" in warnings(said)[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is full after the first objects of a store."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mount is not allowed: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_store_on_a_full_disk(story: BuildDirectory, small_disk: Path) -> None:
    story.setting(f'PROV_STORE = "{small_disk}/store"')
    (small_disk / "ballast").write_bytes(b"x" * 60_000)
    said = story.bitbake("app")
    assert "all succeeded" in said
    assert re.search(r"NOTE: prov: \S+ is not recorded: ", said)
    assert counted(said) <= TASKS
    assert len(warnings(said)) <= 2

    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    (story.root / ".prov").symlink_to(small_disk / "store")
    story.edit(APP, '"hello"', '"goodbye"')
    assert warnings(story.bitbake("app")) == []
    assert story.newest()["result"] == "ok"
    story.is_clean()


def test_killed_server(story: BuildDirectory) -> None:
    paused = pause(story)
    running = story.start("bitbake", "app")
    story.wait(paused, "do_compile begins")
    os.kill(story.servers()[0], signal.SIGKILL)
    running.kill()  # it would wait for the server for a minute
    story.ended(running, code=None)
    story.wait(lambda: not story.writers(), "the writer ends")
    assert story.traces() == [".prov", ".prov.sock.lock"]
    facts = story.newest()
    assert facts["result"] == "interrupted"
    assert story.recorded() >= {"words:do_stage", "tool:do_stage"}
    is_well_afterwards(story)


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_build(story: BuildDirectory, times: int) -> None:
    """The first ^C lets running tasks end, the second kills them."""
    paused = pause(story)
    running = story.start("bitbake", "app")
    story.wait(paused, "do_compile begins")
    for _ in range(times):
        os.kill(running.pid, signal.SIGINT)
        time.sleep(0.5)
    said = story.ended(running, code=None)
    assert running.returncode != 0, said
    story.wait(lambda: not story.writers(), "the writer ends")
    assert story.newest()["result"] == "interrupted"
    assert "app:do_install" not in story.recorded()
    is_well_afterwards(story)


def test_killed_task(story: BuildDirectory) -> None:
    """The kernel kills a task without memory, for example. It cannot report anything."""
    story.edit(
        APP,
        "do_compile() {\n",
        "do_compile() {\n    echo half > app\n    kill -9 $PPID\n    sleep 1\n",
    )
    said = story.bitbake("app", code=1)
    assert counted(said) == {"app:do_compile"}
    facts = story.newest()
    assert facts["result"] == "failed"
    story.edit(APP, "    kill -9 $PPID\n    sleep 1\n", "")
    is_well_afterwards(story)
