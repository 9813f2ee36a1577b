"""Whether recorded tasks give the same again: run as they were, or in another directory, another
file order, later.

Each task gets its recorded inputs, also what others gave it then, so that one which is not
reproducible is told apart from those that only take what it gives.
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
from prov.records.build_list import BuildList, walk_builds
from prov.records.entries import LOG
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.replay.scratch import Aside
from prov.store.objects import EMPTY_TREE, Oid
from prov.store.repository import Store
from prov.tasks.job import Result
from prov.tasks.recorded import RecordedTask, read_task

MOST_PENDING = 100_000
OTHER_CHAIN = "-again"
"""After a WORKDIR's name, so that its path is another one."""


@dataclass(frozen=True, slots=True)
class Again:
    """How a task went that was run again."""

    key: TaskKey
    run: RunName
    problem: str
    """Why it failed, if it did."""
    log: str
    output: tuple[Difference, ...] = ()
    """What is different in what it gives."""
    workdir: tuple[Difference, ...] = ()
    """What is different in its WORKDIR, of a task whose output is, or that gives nothing."""
    at_its_path: bool = False
    """It was run where it was, so that its WORKDIR counts, too, if it gives nothing."""

    @property
    def same(self) -> bool:
        return not self.problem and not self.output and not (self.at_its_path and self.workdir)


def rerun(store: Store, run: RunName, where: Aside) -> Again:
    """Run a recorded task as it was run, and compare."""
    task = read_task(store, run.key, run.commit)
    return replace(_compared(store, run, where.run(task)), at_its_path=where.sandbox is not None)


def _compared(store: Store, run: RunName, result: Result) -> Again:
    assert result.commit is not None
    log = Records(store).text(result.commit, LOG).decode("utf-8", "replace")
    problem = result.problem
    if run.failed:
        problem = "" if problem else "it failed then, and does not now"
        return Again(run.key, run, problem, log)
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
    return Again(run.key, run, problem, log, output, tuple(workdir))


def _output(store: Store, commit: Oid) -> OutputId | None:
    return read_run_record(store.objects, commit).output


def reproduce(store: Store, name: str, where: Aside) -> Iterator[Again]:
    """Run a recipe's tasks, or one with those that it comes after, again, and yield how each went.

    Tasks with the network are left as they are. Raises NameUnknown.
    """
    tasks = _tasks(store, name)
    commits: dict[str, Oid] = {}
    for run, task in tasks:
        if task.definition.task["network"]:
            commits[run.key] = run.commit
            continue
        start = [commits[key] for key in task.definition.after]
        result = where.run(task, chain=task.definition.chain + OTHER_CHAIN, start=start)
        again = _compared(store, run, result)
        yield again
        if again.problem:
            return
        assert result.commit is not None
        commits[run.key] = result.commit


def _tasks(store: Store, name: str) -> list[tuple[RunName, RecordedTask]]:
    """Return the runs of a recipe's tasks as last built, or those up to one task, in an order to
    run them in.
    """
    wanted: dict[TaskKey, tuple[RunName, RecordedTask]] = {}
    if ":" in name or "/" in name:
        run = find_run(store, name)
        keys = [run.key]
        wanted[run.key] = run, read_task(store, run.key, run.commit)
    else:
        build = next(
            (each for each in walk_builds(BuildList.latest(store)) if each.lines(name)), None
        )
        if build is None:
            raise NameUnknown(
                f"no build of {name} is recorded", hint="`prov builds`, or name a task"
            )
        keys = list(build.lines(name))
        for key in keys:
            run = run_in(build, key)
            wanted[key] = run, read_task(store, key, run.commit)
    ordered: dict[TaskKey, tuple[RunName, RecordedTask]] = {}
    pending = list(reversed(keys))
    while pending:
        key = pending[-1]
        run, task = wanted[key]
        missing = []
        for before in task.hashes:
            if before not in wanted:
                wanted[before] = _before(store, before, task)
            if before not in ordered:
                missing.append(before)
        if len(pending) > MOST_PENDING:
            raise StoreError(
                f"{key} comes after itself, as recorded",
                hint="don't trust the origin of that record",
            )
        if missing:
            pending += missing
        else:
            ordered[key] = wanted[key]
            pending.pop()
    return list(ordered.values())


def _before(store: Store, key: TaskKey, task: RecordedTask) -> tuple[RunName, RecordedTask]:
    number, commit = Records(store).last_run(key, task.hashes[key])
    if commit is None:
        raise NameUnknown(
            f"no run of {key} with that task hash is recorded here", hint="`prov build` makes one"
        )
    run = find_run(store, f"{key.replace(':', '/')}/{task.hashes[key].hex()}/{number}")
    return run, read_task(store, key, commit)


@contextlib.contextmanager
def other_order(folder: Path) -> Iterator[str]:
    """Make a folder list its entries in another order than its file system does, if disorderfs can
    be used here.

    Yields a note where it can't, and nothing where it is. It is unmounted with the scratch
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
