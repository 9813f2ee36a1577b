"""Recorded tasks are replayed to the writer, and this process opens files in their WORKDIRs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bitbake.recorded import Line, Replayed, read, wire

pytestmark = pytest.mark.process

LIMITED = ("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_inotify_instances && "$@"')
NEEDS_UNSHARE = pytest.mark.skipif(
    subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode != 0,
    reason="unprivileged user namespaces are not available",
)


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Replayed]:
    made = Replayed(tmp_path / "build")
    yield made
    made.stop()


def lines(replayed: Replayed, recipe: str, task: str) -> dict[str, Line]:
    """Return the recorded requests of a task by their kinds."""
    return {
        line["asked"]["what"]: line
        for line in read("first", str(replayed.root))
        if "asked" in line and (line["asked"]["pn"], line["asked"]["task"]) == (recipe, task)
    }


def end(replayed: Replayed, line: Line) -> Any:
    """Send the request of a task that has ended, and leave its WORKDIR as it is."""
    signature = Path(line["asked"]["signature"])
    signature.parent.mkdir(parents=True, exist_ok=True)
    signature.write_text(json.dumps(line["signature"]))
    return wire.ask(str(replayed.socket), line["asked"], line["body"].encode())


def installed(line: Line) -> Line:
    """Return the request that reports that the sysroots of a task are installed."""
    return {"asked": line["asked"] | {"what": "installed"}, "body": ""}


def make(replayed: Replayed, *paths: str) -> Path:
    """Make files in the WORKDIR of `app`, and return the WORKDIR."""
    workdir = replayed.workdir()
    for name in paths:
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_text("")
    return workdir


def reads(replayed: Replayed, key: str) -> tuple[str, dict[str, list[str]]]:
    """Return the completeness of a list, and the uses of each path in the WORKDIR."""
    answer: Any = replayed.json("reads", key)
    rows = [row for group in answer["groups"] for row in group["paths"]]
    workdir = str(replayed.workdir())
    return answer["opens"], {os.path.relpath(row["path"], workdir): row["uses"] for row in rows}


def test_what_a_task_opens_is_recorded(replayed: Replayed) -> None:
    task = lines(replayed, "app", "do_compile")
    workdir = make(replayed, "recipe-sysroot/usr/include/a.h", "app-0.1/app.txt", "temp/run.sh")
    replayed.begin()
    replayed.say(task["begin"])
    for name in ("recipe-sysroot/usr/include/a.h", "app-0.1/app.txt", "temp/run.sh"):
        (workdir / name).read_text()
    assert end(replayed, task["end"]) == {}
    replayed.end()
    assert reads(replayed, "app:do_compile") == (
        "complete",
        {"recipe-sysroot/usr/include/a.h": ["opened"], "app-0.1/app.txt": ["opened"]},
    )


def test_installing_sysroots_is_not_reading(replayed: Replayed) -> None:
    task = lines(replayed, "app", "do_configure")
    workdir = make(replayed, "recipe-sysroot/usr/include/a.h")
    replayed.begin()
    replayed.say(task["begin"])
    (workdir / "recipe-sysroot/usr/include/a.h").read_text()
    make(replayed, "recipe-sysroot/usr/lib/liba.so", "recipe-sysroot-native/usr/bin/tool")
    assert replayed.say(installed(task["begin"])) == {}
    (workdir / "recipe-sysroot-native/usr/bin/tool").read_text()
    end(replayed, task["end"])
    replayed.end()
    assert reads(replayed, "app:do_configure") == (
        "complete",
        {"recipe-sysroot-native/usr/bin/tool": ["opened"]},
    )


def test_overlapping_tasks_share_opens_but_not_captures(replayed: Replayed) -> None:
    notes, stage = (lines(replayed, "app", name) for name in ("do_notes", "do_compile"))
    workdir = make(replayed, "recipe-sysroot/usr/include/a.h", "recipe-sysroot/usr/include/b.h")
    replayed.begin()
    for task in (notes, stage):
        replayed.say(task["begin"])
    (workdir / "recipe-sysroot/usr/include/a.h").read_text()
    end(replayed, stage["end"])
    replayed.say(installed(stage["begin"]))  # of a task that has ended: ignored
    (workdir / "recipe-sysroot/usr/include/b.h").read_text()
    end(replayed, notes["end"])
    replayed.end()
    problem = "incomplete outside the sysroots: ran at the same time as app:do_"
    shared = {"recipe-sysroot/usr/include/a.h": ["shared", "opened"]}
    assert reads(replayed, "app:do_compile") == (f"{problem}notes", shared)
    opens, uses = reads(replayed, "app:do_notes")
    assert opens == f"{problem}compile"
    assert uses == {**shared, "recipe-sysroot/usr/include/b.h": ["opened"]}


def test_a_writer_that_is_started_again_knows_no_reads(replayed: Replayed) -> None:
    task = lines(replayed, "app", "do_compile")
    make(replayed, "app-0.1/app.txt")
    replayed.begin()
    replayed.say(task["begin"])
    assert replayed.process is not None
    os.kill(replayed.process.pid, signal.SIGKILL)
    replayed.stop()
    replayed.begin()
    assert end(replayed, task["end"]) == {}
    replayed.end()
    error = replayed.prov("reads", "app:do_compile", code=1)
    assert "has no list of reads" in error.stderr
    assert "bitbake -f -c TASK RECIPE" in error.stderr


@NEEDS_UNSHARE
def test_ids_are_the_same_without_watches(replayed: Replayed, tmp_path: Path) -> None:
    """The list is part of no hash, and a writer that cannot watch fails no task."""
    other = Replayed(tmp_path / "other")
    replayed.replay("first")
    other.begin(*LIMITED, "sh")
    for line in read("first", str(other.root)):
        if "server" in line:
            other.end(line)
        else:
            assert other.say(line) == {}
    refs = ("for-each-ref", "--format=%(refname)")
    for under in ("refs/tags", "refs/prov/output"):
        names = replayed.git(*refs, under).split()
        assert names
        assert other.git(*refs, under).split() == names
    outputs = ("for-each-ref", "--format=%(objectname)", "refs/prov/output")
    assert other.git(*outputs) == replayed.git(*outputs)
    assert replayed.json("reads", "tool:do_install")["opens"] == "complete"
    assert other.json("reads", "tool:do_install")["opens"] == (
        "incomplete: more inotify instances than fs.inotify.max_user_instances allows"
    )
