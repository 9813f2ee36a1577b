"""Run a command under strace, and list what it read with the states before it."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import ProvError
from prov.reads.reads import Read, Reads
from prov.reads.recorded import Omitted, Recorded
from prov.reads.state import BLOCKED, MISSING, FileIds, States
from prov.reads.strace import Strace, wait_for_end
from prov.reads.trace import Started, read_trace
from prov.reads.uses import Trace, Use, completeness
from prov.records.run import Start
from prov.store.joining import consolidate
from prov.store.repository import Store
from prov.wrapped.builds import check_build
from prov.wrapped.directory import Directory, recording
from prov.wrapped.record import record
from prov.wrapped.run import run_command
from prov.wrapped.step import KEPT_ENVIRONMENT, CommandRun, CommandStep, Ran
from prov.wrapped.version_control import revision_facts


def trace_as(
    store: Store,
    path: Path,
    step: CommandStep,
    command: Sequence[str],
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
    strace: Strace,
) -> CommandRun:
    """Run and record a command as `prov.wrapped.run.run_as` does, with what it read."""
    check_build(store, step.build)
    with recording(store, path, step.omissions) as directory:
        start, facts = directory.settle(), revision_facts(path)
        states = states_of(directory, start)
    began, clock = time.time(), time.monotonic()
    traced = run_traced(store, strace, states, command, environment, passed, stdin=None)
    seconds = time.monotonic() - clock
    kept = {name: value for name, value in environment.items() if name in KEPT_ENVIRONMENT}
    reads = traced.reads.encode().decode("ascii")
    ran = Ran(
        shlex.join(command),
        traced.code,
        began,
        seconds,
        traced.log,
        kept,
        facts,
        reads=reads,
    )
    with recording(store, path, step.omissions) as directory:
        recorded = record(directory, step, start, ran)
    consolidate(store.objects)
    return recorded


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced command that has ended."""

    code: int
    log: bytes
    reads: Reads
    written: frozenset[bytes] = frozenset()
    """The written paths of its directory that existed before, or whose folder did."""


def states_of(directory: Directory, start: Start) -> States:
    """Return the states of all files before a command in a directory."""
    store, path = directory.store, os.path.realpath(os.fsencode(directory.path))
    files = Recorded(store.objects, path, start.pair, Omitted(directory.excluded()))
    return States(files, FileIds.load(store.cache / "reads"))


def run_traced(
    store: Store,
    strace: Strace,
    states: States,
    command: Sequence[str],
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
    *,
    stdin: int | None = subprocess.DEVNULL,
) -> Traced:
    """Run a command in the directory of `states`, and list what it read.

    Raises ProvError if the command cannot be started.
    """
    folder = states.files.directory
    probed = _probed(command[0], folder, environment.get("PATH", os.defpath))
    began = time.time_ns()
    with tempfile.TemporaryDirectory(prefix="trace-", dir=store.cache) as scratch:
        output = Path(scratch, "trace")
        code, log = run_command(
            strace.wrap(command, output),
            Path(os.fsdecode(folder)),
            environment,
            passed,
            stdin=stdin,
        )
        ended = wait_for_end(output)
        trace = read_trace(output, states.files, Started(folder, probed=probed), ended=ended)
    lister = _Lister(states, trace, began)
    rows = list(lister.rows())
    states.contents.save()
    reads = Reads.of(rows, completeness(trace.opens), completeness(trace.probes))
    return Traced(code, log, reads, frozenset(lister.written))


def _probed(name: str, folder: bytes, search_path: str) -> list[bytes]:
    """Return the paths at which a program was looked for in vain. Raises ProvError.

    strace itself finds the program, so this is not in the trace.
    """
    if "/" in name:
        path = os.path.join(os.fsdecode(folder), name)
        if shutil.which(path) is None:
            raise _cannot_run(name)
        return []
    probed: list[bytes] = []
    for place in search_path.split(os.pathsep):
        path = os.path.join(os.path.realpath(os.path.join(os.fsdecode(folder), place)), name)
        if shutil.which(path) is not None:
            return probed
        probed.append(os.fsencode(path))
    raise _cannot_run(name)


def _cannot_run(name: str) -> ProvError:
    return ProvError(
        f"cannot run {name}: no such program",
        hint="check that the program is installed and executable",
    )


@dataclass(slots=True)
class _Lister:
    """Lists the uses in a trace with states, and finds what makes the list incomplete."""

    states: States
    trace: Trace
    began: int
    """When the command started, in nanoseconds since the epoch."""
    written: set[bytes] = field(default_factory=set)

    def rows(self) -> Iterator[Read]:
        for path, use in sorted(self.trace.uses.items()):
            try:
                state = self.states.state(path, "".join(use.kinds))
            except OSError as error:
                self.trace.hide(f"cannot read {os.fsdecode(path)}: {error.strerror}")
                continue
            self.compare(path, use, state)
            if "w" in use.kinds:
                self.write(path, state)
            is_temporary = use.exclusive and use.kinds == {"w"} and not os.path.lexists(path)
            if not is_temporary:
                yield self.row(path, use, state)

    def row(self, path: bytes, use: Use, state: str) -> Read:
        spelled = self.states.files.spelled
        programs = tuple(sorted(map(spelled, use.programs)))
        return Read(spelled(path), "".join(sorted(use.kinds)), state, programs)

    def compare(self, path: bytes, use: Use, state: str) -> None:
        """Check that the state is the one that the command saw."""
        is_missing = state in (MISSING, BLOCKED)
        has_content = not state.startswith("directory") or "d" in use.kinds
        if (
            ("m" in use.kinds and not is_missing)
            or (use.kinds - {"m", "w"} and is_missing)
            or (has_content and self.states.has_changed_since(path, self.began))
        ) and "w" not in use.kinds:
            self.trace.hide(f"{os.fsdecode(path)} changed while the command ran")

    def write(self, path: bytes, state: str) -> None:
        """Note a path that the command wrote."""
        files = self.states.files
        if not files.is_inside(path):
            if state != MISSING or os.path.lexists(path):
                self.trace.doubt(f"the command changes {os.fsdecode(path)}, which is not recorded")
            return
        node = files.node(path)
        if node is not None and node.link and stat.S_ISREG(node.mode):
            self.trace.doubt(f"{files.spelled(path)}, which has several links, is written")
        self.written.add(files.inner(path))
