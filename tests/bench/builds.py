"""Rows of `prov build` and `prov plan` with projects of trivial tasks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bench.data import buildstream, remove, wide_elements, wide_makefile, wide_project
from tests.bench.measure import Command
from tests.bench.rows import PROV, Row

TASKS = 420
PLANNED = 10_010


def build_rows(data: Path) -> Sequence[Row]:
    project = wide_project(data / "trivial", TASKS // 10)
    folder = wide_makefile(data / "trivial-make", TASKS // 10)

    def build(name: str, sandbox: str) -> Command:
        words = (PROV, "build", "-j2", "--sandbox", sandbox, "world")
        return Command(name, words, cwd=project, prepare=lambda: _forget(project))

    def clean() -> None:
        remove(*(path for path in folder.iterdir() if path.is_dir()))

    cache, elements = data / "trivial-cache", wide_elements(data / "trivial-bst", TASKS // 10)
    bst = (
        "env",
        f"XDG_CACHE_HOME={cache}",
        buildstream(data),
        "--no-interactive",
        "--builders",
        "2",
    )
    build_stream = Command(
        "bst build", (*bst, "build", "all.bst"), cwd=elements, prepare=lambda: remove(cache)
    )
    make = Command("make -j2", ("make", "-j2"), cwd=folder, prepare=clean)
    rows = [
        Row(
            "build: 420 trivial tasks",
            build("prov build -j2", "none"),
            (build_stream, make),
            seconds=TASKS * 0.010,
            rounds=3,
        )
    ]
    if shutil.which("bwrap"):
        rows.append(
            Row(
                "build: 420 trivial tasks in sandboxes",
                build("prov build -j2", "bwrap"),
                (build_stream, make),
                rounds=2,
            )
        )
    done = wide_project(data / "done", TASKS // 10)
    _build(done)
    rows.append(
        Row(
            "build: 420 tasks, nothing to do",
            Command("prov build", (PROV, "build", "world"), cwd=done),
            (
                Command("bst build", (*bst, "build", "all.bst"), cwd=elements),
                Command("make", ("make",), cwd=folder),
            ),
            seconds=0.25,
        )
    )
    return [*rows, _plan(data)]


def _plan(data: Path) -> Row:
    project = data / "planned"
    if not (project / ".prov").is_dir():
        wide_project(project, PLANNED // 10)
        _build(project)
    return Row(
        "build: plan of 10,010 tasks, nothing to do",
        Command("prov plan", (PROV, "plan", "world"), cwd=project),
        seconds=1.0,
    )


def _build(project: Path) -> None:
    words: list[str | Path] = [PROV, "build", "-j2", "--sandbox", "none", "world"]
    subprocess.run(words, cwd=project, check=True, capture_output=True)
    plan: list[str | Path] = [PROV, "plan", "world"]
    subprocess.run(plan, cwd=project, check=True, capture_output=True)


def _forget(project: Path) -> None:
    remove(project / ".prov", project / "build")
