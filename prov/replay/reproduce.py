"""Check whether recorded tasks produce the same output again.

They run as they were, or in another directory, in another file order, or later. Each task gets its
recorded inputs, also the outputs of other tasks as recorded, so that a task that is not
reproducible does not hide behind one that takes its output.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from prov.errors import NameUnknown, StoreError
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
"""After a WORKDIR's name, so that its path is another one."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The result of running a task again."""

    key: TaskKey
    run: RunName
    problem: str
    """Why it failed, if it did."""
    log: str
    output: tuple[Difference, ...] = ()
    """How its output differs."""
    workdir: tuple[Difference, ...] = ()
    """How its WORKDIR differs, of a task whose output differs or is empty."""
    at_its_path: bool = False
    """It ran at its old path, so that a difference in its WORKDIR counts, too."""

    @property
    def same(self) -> bool:
        """Whether the task produced the same again."""
        return not self.problem and not self.output and not (self.at_its_path and self.workdir)


def rerun(store: Store, run: RunName, scratch: Scratch) -> Rerun:
    """Run a recorded task as it was run, and compare."""
    task = read_task(store, run.key, run.commit)
    return replace(
        _compared(store, run, scratch.run(task)), at_its_path=scratch.sandbox is not None
    )


def _compared(store: Store, run: RunName, result: Result) -> Rerun:
    assert result.commit is not None
    log = Records(store).text(result.commit, LOG).decode("utf-8", "replace")
    problem = result.problem
    if run.failed:
        problem = "" if problem else "it failed then, and does not now"
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
        output = output or (Difference(".", "attributes", detail="how it is put in place"),)
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
    """Run a recipe's tasks again, or one with those that it comes after, and yield each result.

    Tasks with the network are not run. Raises NameUnknown.
    """
    tasks = _tasks(store, name)
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
"""A run, and its task as recorded."""


def _tasks(store: Store, name: str) -> list[Recorded]:
    """Return the runs of a recipe's tasks as last built, or those up to one task, in an order to
    run them in.
    """
    return _in_order(store, _selected(store, name))


def _selected(store: Store, name: str) -> dict[TaskKey, Recorded]:
    """Return the runs that a name stands for."""
    if ":" in name or "/" in name:
        run = find_run(store, name)
        return {run.key: (run, read_task(store, run.key, run.commit))}
    builds = walk_builds(BuildList.latest(store))
    build = next((build for build in builds if build.lines(name)), None)
    if build is None:
        raise NameUnknown(f"no build of {name} is recorded", hint="`prov builds`, or name a task")
    runs = {key: run_in(build, key) for key in build.lines(name)}
    return {key: (run, read_task(store, key, run.commit)) for key, run in runs.items()}


def _in_order(store: Store, selected: dict[TaskKey, Recorded]) -> list[Recorded]:
    """Return some tasks, and all that they come after, each after these."""
    tasks = dict(selected)
    ordered: dict[TaskKey, Recorded] = {}
    pending = list(reversed(selected))
    while pending:
        if len(pending) > MOST_PENDING:
            raise StoreError(
                f"{pending[-1]} comes after itself, as recorded",
                hint="don't trust the origin of that record",
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
            f"no run of {key} with that task hash is recorded here", hint="`prov build` makes one"
        )
    run = find_run(store, RunRef(key, task.hashes[key], number).tag)
    return run, read_task(store, key, commit)


@contextlib.contextmanager
def other_order(folder: Path) -> Iterator[str]:
    """Mount a folder that lists its entries in another order than its file system, by disorderfs.

    Yields a note if disorderfs cannot be used, else an empty text. It is unmounted with the scratch
    directory.
    """
    program = shutil.which("disorderfs")
    if program is None:
        yield (
            "folders are read in the file system's own order; with disorderfs installed, in"
            " another one"
        )
        return
    below = folder.with_name(f"{folder.name}.below")  # beside it, and removed with it
    below.mkdir()
    folder.mkdir(exist_ok=True)
    # without the last three the second link of a file is taken for another file (disorderfs 0.5.11)
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
        yield f"folders are read in the file system's own order: {done.stderr.strip()}"
        return
    yield ""
