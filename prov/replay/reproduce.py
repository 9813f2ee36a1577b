"""Check whether recorded tasks reproduce their outputs.

The tasks run unchanged, or in a different directory, with a different file order, or at a later
time. Each task gets its recorded inputs, including the recorded outputs of other tasks. Therefore a
task that is not reproducible does not affect the tasks that depend on it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from prov.errors import FORGET_RUN, NameUnknown, StoreError
from prov.history.diff import Difference, diff_pairs
from prov.history.names import RunName, find_run, run_in
from prov.progress import counted
from prov.records.build_list import BuildList, walk_builds
from prov.records.entries import LOG
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.records.refs import RunRef
from prov.replay.scratch import Scratch
from prov.store.objects import EMPTY_TREE, Oid
from prov.store.repository import Store
from prov.tasks.job import Result
from prov.tasks.recorded import RecordedTask, read_task

MOST_PENDING = 100_000
OTHER_CHAIN = "-again"
"""Suffix of a WORKDIR's name that makes its path differ."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The result of rerunning a task."""

    key: TaskKey
    run: RunName
    problem: str
    """The reason for a failure; empty on success."""
    log: str
    output: tuple[Difference, ...] = ()
    """Differences between the outputs."""
    workdir: tuple[Difference, ...] = ()
    """Differences between the WORKDIRs, if the outputs differ or are empty."""
    at_its_path: bool = False
    """Whether it ran at its recorded path, so that differences between the WORKDIRs count too."""

    @property
    def same(self) -> bool:
        """Whether the task reproduced its result."""
        return not self.problem and not self.output and not (self.at_its_path and self.workdir)


def rerun(store: Store, run: RunName, scratch: Scratch) -> Rerun:
    """Rerun a recorded task unchanged, and compare the results."""
    task = read_task(store, run.key, run.commit)
    return replace(
        _compared(store, run, scratch.run(task)), at_its_path=scratch.sandbox is not None
    )


def _compared(store: Store, run: RunName, result: Result) -> Rerun:
    assert result.commit is not None
    log = Records(store).text(result.commit, LOG).decode("utf-8", "replace")
    problem = result.problem
    if run.failed:
        problem = "" if problem else "the recorded run failed, but the rerun succeeded"
        return Rerun(run.key, run, problem, log)
    output: tuple[Difference, ...] = ()
    recorded = _output(store, run.commit)
    if result.output is not None and recorded is not None and result.output != recorded:
        output = tuple(
            diff_pairs(
                store.objects,
                read_pair(store.objects, recorded),
                read_pair(store.objects, result.output),
            )
        )
        output = output or (Difference(".", "attributes", detail="relocation or post-processing"),)
    workdir: list[Difference] = []
    if output or recorded == EMPTY_TREE:
        records = Records(store)
        workdir = diff_pairs(
            store.objects, records.workdir(run.commit), records.workdir(result.commit)
        )
    return Rerun(run.key, run, problem, log, output, tuple(workdir))


def _output(store: Store, commit: Oid) -> OutputId | None:
    return read_run_record(store.objects, commit).output


def reproduce(store: Store, name: str, scratch: Scratch) -> Iterator[Rerun]:
    """Rerun a recipe's tasks, or one task and its predecessors, and yield each result.

    Tasks with network access do not run. Raises NameUnknown.
    """
    tasks = recorded_tasks(store, name)
    commits: dict[str, Oid] = {}
    for run, task in counted(tasks, "rebuilding tasks", every=1):
        if task.definition.task["network"]:
            commits[run.key] = run.commit
            continue
        start = [commits[key] for key in task.definition.after]
        result = scratch.run(task, chain=task.definition.chain + OTHER_CHAIN, start=start)
        rerun = _compared(store, run, result)
        yield rerun
        if rerun.problem:
            return
        assert result.commit is not None
        commits[run.key] = result.commit


Recorded = tuple[RunName, RecordedTask]
"""A run, and the recorded task."""


def recorded_tasks(store: Store, name: str) -> list[Recorded]:
    """Return the runs of a recipe's tasks in its last build, or up to one task, in run order.

    Raises NameUnknown.
    """
    return _in_order(store, _selected(store, name))


def _selected(store: Store, name: str) -> dict[TaskKey, Recorded]:
    """Return the runs with a name."""
    if ":" in name or "/" in name:
        run = find_run(store, name)
        return {run.key: (run, read_task(store, run.key, run.commit))}
    builds = walk_builds(BuildList.latest(store))
    build = next((build for build in builds if build.lines(name)), None)
    if build is None:
        raise NameUnknown(
            f"no build of {name} is recorded",
            hint="run `prov builds` to list builds, or use RECIPE:TASK",
        )
    runs = {key: run_in(build, key) for key in build.lines(name)}
    return {key: (run, read_task(store, key, run.commit)) for key, run in runs.items()}


def _in_order(store: Store, selected: dict[TaskKey, Recorded]) -> list[Recorded]:
    """Return tasks and all their predecessors, each after its own predecessors."""
    tasks = dict(selected)
    ordered: dict[TaskKey, Recorded] = {}
    pending = list(reversed(selected))
    while pending:
        if len(pending) > MOST_PENDING:
            raise StoreError(
                f"the record of {pending[-1]} is invalid: the task comes after itself",
                hint=FORGET_RUN,
            )
        key = pending[-1]
        task = tasks[key][1]
        missing = [before for before in task.hashes if before not in ordered]
        for before in missing:
            if before not in tasks:
                tasks[before] = _before(store, before, task)
        if missing:
            pending += missing
        else:
            ordered[key] = tasks[key]
            pending.pop()
    return list(ordered.values())


def _before(store: Store, key: TaskKey, task: RecordedTask) -> Recorded:
    number, commit = Records(store).last_run(key, task.hashes[key])
    if commit is None:
        raise NameUnknown(
            f"no run of {key} with task hash {task.hashes[key].hex()} is recorded",
            hint="run `prov build` to record one",
        )
    run = find_run(store, RunRef(key, task.hashes[key], number).tag)
    return run, read_task(store, key, commit)


@contextlib.contextmanager
def other_order(folder: Path) -> Iterator[str]:
    """Mount a folder that lists its entries in reverse order, with disorderfs.

    Yields a note if disorderfs cannot be used, otherwise an empty text. The scratch directory
    unmounts the folder.
    """
    program = shutil.which("disorderfs")
    if program is None:
        yield "the order of files in folders was not varied: disorderfs is not installed"
        return
    below = folder.with_name(f"{folder.name}.below")  # beside it, and removed with it
    below.mkdir()
    folder.mkdir(exist_ok=True)
    # without the last three, hardlinks appear as different files (disorderfs 0.5.11)
    options = [
        "--quiet",
        "--sort-dirents=yes",
        "--reverse-dirents=yes",
        "-o",
        "use_ino,noforget,attr_timeout=0",
    ]
    done = subprocess.run(
        [program, *options, str(below), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        yield f"the order of files in folders was not varied: {done.stderr.strip()}"
        return
    yield ""
