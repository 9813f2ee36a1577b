"""Take the result of a recorded command instead of running the command again.

A result can be taken if everything that decided it is the same: the command, its environment, and
the state of each path in a complete trace. These are the inputs of such a run, so its task hash
names one result (`prov.wrapped.results`). The command gets only recorded variables, an empty
standard input, and no other open files.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prov.errors import ProvError
from prov.reads.reads import Reads
from prov.reads.strace import Strace
from prov.records.run import Start
from prov.store.joining import consolidate
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import TreeReader
from prov.worktree.checkout import checkout
from prov.wrapped.builds import check_build
from prov.wrapped.changes import (
    Changes,
    changed,
    changes_between,
    encode_changes,
    output_of_changes,
)
from prov.wrapped.directory import Directory, recording
from prov.wrapped.record import record
from prov.wrapped.results import (
    COMMAND_ID,
    EARLIER,
    SHARES,
    TAKEN,
    CachedCommand,
    CachedResult,
    ResultSearch,
    paths_of,
    place_id,
)
from prov.wrapped.step import CommandRun, CommandStep, Ran, Reuse
from prov.wrapped.traced import Traced, run_traced, states_of
from prov.wrapped.version_control import revision_facts


@dataclass(frozen=True, slots=True)
class CachedRun:
    """A recorded run, and where its result is from."""

    run: CommandRun
    taken_from: str = ""
    """The tag of the run whose result was taken; empty if the command ran."""
    doubt: str = ""
    """Why the result cannot be taken later; empty if it can, or the command failed."""


def run_cached(
    store: Store,
    path: Path,
    step: CommandStep,
    command: Sequence[str],
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
    *,
    search_path: str,
    shares: bool = False,
) -> CachedRun:
    """Take the recorded result of a command, or run and record the command.

    `search_path` is where strace is; `shares` makes the changed paths the output. The result is
    recorded as a run in both cases. Raises ProvError as `prov.wrapped.run.run_as` does, and if
    strace is needed but missing.
    """
    if shares and step.outputs:
        raise ProvError(
            "--share and --output exclude each other",
            hint="omit --output: with --share, the output is what the command changes",
        )
    check_build(store, step.build)
    cached = CachedCommand.of(command, environment)
    began, clock = time.time(), time.monotonic()
    with recording(store, path, step.omissions) as directory:
        start = directory.settle()
        states = states_of(directory, start)
        search = ResultSearch(store, cached, states, place_id(states), step)
        result = search.find()
        states.contents.save()
        ran = Ran(cached.text, 0, began, 0.0, b"", cached.environment, revision_facts(path))
        if result is not None:
            passed(result.log)
            recorder = _Recorder(directory, step, start, search, shares)
            return recorder.take(result, replace(ran, seconds=time.monotonic() - clock))
    strace = Strace.find(search_path)
    traced = run_traced(store, strace, states, command, cached.environment, passed)
    ran = replace(ran, code=traced.code, seconds=time.monotonic() - clock, log=traced.log)
    with recording(store, path, step.omissions) as directory:
        recorder = _Recorder(directory, step, start, search, shares)
        run = recorder.record(traced, ran)
    consolidate(store.objects)
    return run


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Records runs whose result can be taken."""

    directory: Directory
    step: CommandStep
    start: Start
    search: ResultSearch
    shares: bool

    def take(self, result: CachedResult, ran: Ran) -> CachedRun:
        """Make the changes of a recorded run, and record that as a run."""
        directory, store = self.directory, self.directory.store
        target = changed(directory.writer, self.start.pair, result.changes, time.time_ns())
        directory.writer.finish()
        checkout(store.objects, directory.path, target, now=self.start.pair)
        ran = replace(ran, log=result.log, facts={**ran.facts, TAKEN: result.name})
        ran = self.reusable(ran, result.reads, result.inputs, result.changes)
        run = record(directory, self.step, self.start, ran)
        self.remember(run)
        return CachedRun(run, result.name)

    def record(self, traced: Traced, ran: Ran) -> CachedRun:
        """Record a traced command that has ended."""
        directory, reads = self.directory, traced.reads
        snapshot = directory.capture()
        directory.writer.finish()  # the content is read below
        objects = directory.store.objects
        changes = changes_between(objects, self.start.pair, snapshot.pair, traced.written)
        problem = reads.problem or _unrepeatable(changes)
        ran = replace(ran, reads=reads.encode().decode("ascii"))
        if ran.code != 0 or problem:
            run = record(directory, self.step, self.start, ran, snapshot)
            return CachedRun(run, doubt=problem * (ran.code == 0))
        path = self.search.states.files.directory
        tied_to = self.search.place * _contains(objects, path, traced.log, changes)
        inputs = self.search.command.inputs(reads, tied_to)
        ran = self.reusable(ran, reads, inputs, changes)
        run = record(directory, self.step, self.start, ran, snapshot)
        if run.code == 0:
            self.remember(run)
        return CachedRun(run)

    def reusable(self, ran: Ran, reads: Reads, inputs: str, changes: Changes) -> Ran:
        """Return a run with what later runs need to take its result."""
        search = self.search
        facts = {COMMAND_ID: search.command.id.hex(), EARLIER: search.earlier(paths_of(reads))}
        output = None
        if self.shares:
            facts[SHARES] = "changes"
            output = output_of_changes(self.directory.writer, changes)
        return replace(
            ran,
            facts={**ran.facts, **facts},
            reads=reads.encode().decode("ascii"),
            decisive=inputs,
            reuse=Reuse(encode_changes(changes), output),
        )

    def remember(self, run: CommandRun) -> None:
        """Make a run the first one to search.

        After a kill before this, the next run only misses its result.
        """
        self.directory.store.refs.update(RefUpdate(str(self.search.ref), run.commit))


def _unrepeatable(changes: Changes) -> str:
    """Return why changes cannot be made again; empty if they can."""
    for path, node in changes.items():
        if node is not None and node.link:
            return f"{os.fsdecode(path)} is a hardlink"
        if node is not None and not _is_plain(node.mode):
            return f"{os.fsdecode(path)} is a device, a FIFO or a socket"
    return ""


def _is_plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _contains(reader: TreeReader, directory: bytes, log: bytes, changes: Changes) -> bool:
    """Return whether a result contains the path of its directory."""
    contents = (node.oid for node in changes.values() if node is not None and node.oid)
    return directory in log or any(directory in reader.blob(oid) for oid in contents)
