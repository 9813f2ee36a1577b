"""Write runs and builds to a store as builds do, without running any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prov.records.build_list import BuildList, Line, record_build
from prov.records.ids import CommitId, OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import new_run
from prov.records.output import Output
from prov.records.refs import OutputRef
from prov.records.run import Run, Start, author, empty_start, write_run
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.records.samples import inputs_of

BEGAN = 1_700_000_000
"""Seconds since the epoch."""
Files = Mapping[str, str]
"""Path -> text."""


def write_files(writer: ObjectWriter, files: Files) -> Oid:
    """Write a tree of files in folders."""
    folders: dict[str, dict[str, str]] = {}
    entries = []
    for path, text in files.items():
        name, _, below = path.partition("/")
        if below:
            folders.setdefault(name, {})[below] = text
        else:
            entries.append(Entry(name.encode(), MODE_FILE, writer.add("blob", text.encode())))
    for name, inner in folders.items():
        entries.append(Entry(name.encode(), MODE_DIRECTORY, write_files(writer, inner)))
    return writer.add_tree(entries)


@dataclass(frozen=True)
class Recorded:
    """A recorded run."""

    line: Line
    commit: CommitId
    workdir: Pair

    @property
    def output(self) -> OutputId:
        assert self.line.output is not None
        return self.line.output


@dataclass
class Recorder:
    """Writes runs, one minute apart, and builds that start before their runs."""

    store: Store
    seconds: int = BEGAN

    def run(
        self,
        key: str,
        inputs: Mapping[str, str],
        files: Files,
        *,
        output: Files | None = None,
        edges: Mapping[str, Mapping[str, str]] | None = None,
        before: Recorded | None = None,
        facts: Mapping[str, str] | None = None,
        failed: bool = False,
    ) -> Recorded:
        """Record a run with files in its WORKDIR, by default also as its output."""
        self.seconds += 60
        task = TaskKey(key)
        with self.store.objects.writer() as writer:
            task_hash = inputs_of(writer, inputs, edges)
            workdir = Pair(write_files(writer, files), None)
            given = Pair(write_files(writer, files if output is None else output), None)
            start = Start(before.commit, before.workdir) if before else empty_start(writer)
            run = Run(
                key=task,
                task_hash=task_hash,
                start=start,
                after=workdir,
                output=None if failed else Output(given),
                log=b"done\n",
                environment={"LANG": "C"},
                facts={"began": f"{self.seconds - 1}", "result": "ok", **(facts or {})},
            )
            ids = write_run(writer, run, author(self.seconds))
        updates = [new_run(self.store, task, task_hash, ids.commit, failed=failed)]
        if not failed:
            updates.append(RefUpdate(str(OutputRef(task, task_hash)), ids.output_commit))
        self.store.refs.update(*updates)
        number = 0 if failed else int(updates[0].name.rpartition("/")[2])
        line = Line(task, task_hash, None if failed else ids.output, number)
        return Recorded(line, ids.commit, workdir)

    def build(
        self,
        *runs: Recorded,
        happened: Mapping[str, str] | None = None,
        versions: Mapping[str, str] | None = None,
        reasons: Mapping[str, str] | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> BuildList:
        """Record a build with some runs. Failed runs are only in `happened`."""
        lines = [run.line for run in runs if run.line.output is not None]
        outcomes = {
            run.line.key: f"failed {run.line.task_hash.hex()}"
            for run in runs
            if run.line.output is None
        }
        outcomes |= {TaskKey(key): text for key, text in (happened or {}).items()}
        commit = record_build(
            self.store,
            lines,
            outcomes,
            {"targets": "", "result": "ok", "seconds": "1.5", **(facts or {})},
            author(self.seconds + 30 - 60 * len(runs)),
            versions=versions,
            reasons={TaskKey(key): text for key, text in (reasons or {}).items()},
        )
        return BuildList(self.store, commit)


NOTHING = Pair(EMPTY_TREE, None)
