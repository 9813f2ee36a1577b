"""Record commands and directories as runs, with the same commits, tags and logs as tasks."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from prov.errors import ProvError
from prov.processes import follow
from prov.records.entries import CHANGES, FROM, NEEDS, READS, WHOLE
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import encode_lines
from prov.records.lookup import Records, new_run
from prov.records.output import Output
from prov.records.refs import OutputRef, parse_run
from prov.records.run import Run, Start, author, write_run
from prov.store.joining import consolidate
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair, nest
from prov.worktree.snapshot import Snapshot, remember
from prov.wrapped.builds import Member, PreviousStep, add_to_build, check_build, predecessor
from prov.wrapped.directory import Directory, Omissions, recording
from prov.wrapped.version_control import revision_facts

KEPT_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "MAKEFLAGS",
)
"""The caller's variables to record. This is an allow-list, because others may contain secrets."""


@dataclass(frozen=True, slots=True)
class CommandStep:
    """How to record a run."""

    key: TaskKey
    build: str = ""
    """The label of the build that the run belongs to; empty: a build of its own."""
    outputs: tuple[str, ...] = ()
    """The output: folders relative to the directory. Without them, only the record is shared."""
    exclude: tuple[str, ...] = ()
    """gitignore patterns of paths to skip."""
    gitignore: bool = False
    """Whether to skip what git ignores, except for the output."""

    @staticmethod
    def parse(
        name: str,
        *,
        build: str = "",
        outputs: Sequence[str] = (),
        exclude: Sequence[str] = (),
        gitignore: bool = False,
    ) -> CommandStep:
        """Return the step with a user's name, label and folders. Raises ProvError."""
        folders = tuple(_output_path(text) for text in outputs)
        return CommandStep(TaskKey.parse(name), build, folders, tuple(exclude), gitignore)

    @property
    def omissions(self) -> Omissions:
        """Return which paths to skip."""
        return Omissions(self.exclude, self.gitignore, self.outputs)


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A recorded run."""

    tag: str
    commit: CommitId
    build: CommitId
    """The build that lists the run."""
    code: int = 0
    """The command's exit status; 1 if only the output is missing."""
    problem: str = ""
    """Why the run failed although the command exited with 0."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """The changes that a run made, for later runs."""

    changes: str
    """The changed paths, as `prov.wrapped.changes` encodes them."""
    output: Output | None = None
    """The changed entries, if they are to be shared."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    command: str = ""
    """The command as text; empty for a capture, which runs none."""
    code: int = 0
    began: float = 0.0
    """Seconds since the epoch."""
    seconds: float = 0.0
    log: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """More facts for the record."""
    problem: str = ""
    """Why it failed, if there is no exit status."""
    inputs: Mapping[str, bytes | Mapping[str, bytes]] = field(default_factory=dict)
    """More inputs: texts, or folders of texts, by name."""
    needs: Mapping[TaskKey, OutputId] = field(default_factory=dict)
    """Outputs of other runs that it used."""
    sysroots: Mapping[str, Pair] = field(default_factory=dict)
    """The sysroots, without mtimes: `native` and `target`."""
    installed: Mapping[str, Pair] = field(default_factory=dict)
    """The content of output folders that are outside the directory."""
    reads: str = ""
    """The list of what the command read, if it was traced."""
    decisive: str = ""
    """Everything that decided the result, if a trace shows it: an input in place of the start."""
    reuse: Reuse | None = None
    """How later runs can make the same changes."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run recorded in no build yet."""

    member: Member
    commit: CommitId
    problem: str


def _output_path(text: str) -> str:
    path = os.path.normpath(text)
    if path.startswith(("/", "..")):
        raise ProvError(
            f"--output {text}: outside the recorded directory",
            hint="name a folder below it, such as image",
        )
    return "" if path == "." else path


def capture_as(store: Store, path: Path, step: CommandStep) -> CommandRun:
    """Commit and tag a directory, except for excluded files and version control data.

    Raises CaptureError.
    """
    check_build(store, step.build)
    with recording(store, path, step.omissions) as directory:
        recorded = record(
            directory, step, directory.last(), Ran(began=time.time(), facts=revision_facts(path))
        )
    consolidate(store.objects)
    return recorded


def run_as(
    store: Store,
    path: Path,
    step: CommandStep,
    command: Sequence[str],
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
) -> CommandRun:
    """Run a command in a directory; commit and tag its changes and its output.

    The output is also passed to `passed` as it appears. Excluded files and version control data are
    ignored. Raises ProvError if the command cannot be started.
    """
    check_build(store, step.build)
    with recording(store, path, step.omissions) as directory:
        start, facts = directory.settle(), revision_facts(path)
    # The directory is not locked while the command runs: the command may itself call prov.
    began, clock = time.time(), time.monotonic()
    code, log = run_command(command, path, environment, passed)
    kept = {name: value for name, value in environment.items() if name in KEPT_ENVIRONMENT}
    ran = Ran(shlex.join(command), code, began, time.monotonic() - clock, log, kept, facts)
    with recording(store, path, step.omissions) as directory:
        recorded = record(directory, step, start, ran)
    consolidate(store.objects)
    return recorded


def record(
    directory: Directory,
    step: CommandStep,
    start: Start,
    ran: Ran,
    snapshot: Snapshot | None = None,
) -> CommandRun:
    """Record a run that has ended, and add it to its build.

    `start` is the state of the directory before the run, and `snapshot` that after it, if it is
    captured already. Raises CaptureError.
    """
    store = directory.store
    source = predecessor(store, step.build, start.commit)
    ended = record_alone(directory, step, start, ran, source, snapshot)
    build = add_to_build(store, step.build, ended.member)
    code = 1 if ended.problem else ran.code
    return CommandRun(ended.member.run.tag, ended.commit, build, code, ended.problem)


def record_alone(
    directory: Directory,
    step: CommandStep,
    start: Start,
    ran: Ran,
    source: PreviousStep | None,
    snapshot: Snapshot | None = None,
) -> EndedRun:
    """Record a run that has ended, in no build.

    `source` is the run that left the directory in the state `start`, if it is a step of the same
    build. The others are as in `record`. Raises CaptureError.
    """
    store, writer = directory.store, directory.writer
    task_hash = write_inputs(writer, step, start, ran, source)
    snapshot = snapshot or directory.capture()
    output, problem = None, ran.problem
    if ran.code == 0:
        output, problem = output_of(snapshot, step.outputs, writer, ran.installed)
    facts = {
        "result": _result(1 if problem else ran.code, problem),
        "began": f"{ran.began:.3f}",
        "seconds": f"{ran.seconds:.3f}",
        "workdir": str(directory.path.resolve()),
        "host": socket.gethostname(),
        **ran.facts,
    }
    lists = {"outputdir": step.outputs, "exclude": step.exclude}
    facts |= {name: shlex.join(paths) for name, paths in lists.items() if paths}
    if step.gitignore:
        facts["gitignore"] = "yes"
    output, extra = _extra(step, ran, output)
    run = Run(
        step.key,
        task_hash,
        start,
        snapshot.pair,
        output,
        ran.log,
        ran.environment,
        facts,
        ran.sysroots,
        extra=extra,
    )
    recorded = write_run(writer, run, author(time.time()))
    added = writer.total
    writer.finish()
    tag = new_run(store, step.key, task_hash, recorded.commit, failed=output is None)
    updates = [tag, RefUpdate(directory.ref, recorded.commit)]
    if output is not None and "aside" not in facts:
        name = str(OutputRef(step.key, task_hash))
        updates.append(RefUpdate(name, recorded.output_commit))
    store.refs.update(*updates)
    remember(snapshot, directory.memory)
    ref = parse_run(tag.name)
    assert ref is not None  # `new_run` made its name
    result = Records(store).record(recorded.commit).result or recorded.output
    member = Member(ref, result, ran.began, ran.seconds, added)
    return EndedRun(member, recorded.commit, problem)


def _extra(
    step: CommandStep, ran: Ran, output: Output | None
) -> tuple[Output | None, Mapping[str, Pair | Oid | str]]:
    """Return the output to record, and more entries of the record."""
    extra: dict[str, Pair | Oid | str] = {}
    if ran.reads:
        extra[READS.decode()] = ran.reads
    if ran.reuse is not None:
        extra[CHANGES.decode()] = ran.reuse.changes
        if ran.reuse.output is not None:
            return ran.reuse.output, extra
    if output is not None and not step.outputs:
        # only what has a name is the output; history shows the whole directory
        extra[WHOLE.decode()] = output.pair
        output = Output(EMPTY)
    return output, extra


def _result(code: int, problem: str) -> str:
    if code == 0:
        return "ok"
    return f"failed: {problem or f'exit status {code}'}"


def output_of(
    snapshot: Snapshot,
    folders: Sequence[str],
    writer: ObjectWriter,
    installed: Mapping[str, Pair] = MappingProxyType({}),
) -> tuple[Output | None, str]:
    """Return a run's output and "", or None and the problem.

    Without `folders`, the output is the whole directory. `installed` has the content of folders
    outside the directory.
    """
    pairs = {}
    for folder in folders or ("",):
        path = os.fsencode(folder)
        pair = installed.get(folder) or snapshot.output(path, writer)
        if pair is None and folder:
            return None, f"the output folder {folder} is missing"
        pairs[path] = pair or EMPTY
    if b"" in pairs:
        return Output(pairs[b""]), ""
    return Output(nest(writer, pairs)), ""


def write_inputs(
    writer: ObjectWriter,
    step: CommandStep,
    start: Start | None,
    ran: Ran,
    source: PreviousStep | None,
) -> TaskHash:
    """Write the inputs tree of a run, with an edge to the run that left the directory so.

    Without `ran.decisive`, `start` is an input.
    """
    definition = [f"task {step.key}\n", *(f"outputdir {path}\n" for path in step.outputs)]
    texts = {"task": "".join(definition).encode("utf-8", "surrogateescape")}
    if ran.command:
        texts["command"] = f"{ran.command}\n".encode("utf-8", "surrogateescape")
        texts["environment"] = encode_lines(dict(sorted(ran.environment.items())), "=")
    capture = [f"exclude {pattern}\n" for pattern in step.exclude]
    if step.gitignore:
        capture.append("gitignore\n")
    if capture:
        texts["capture"] = "".join(capture).encode("utf-8", "surrogateescape")
    if ran.decisive:
        texts["reads"] = ran.decisive.encode()
        source = None  # whatever left the directory so, the result would be the same
    elif start is not None:
        texts["start"] = f"{start.pair.tree.hex()}\n".encode()
    inputs: dict[str, bytes | Mapping[str, bytes]] = {**texts, **ran.inputs}
    if source is not None and source.key != step.key:
        inputs[FROM] = _edges({source.key: source.output})
    if ran.needs:
        inputs[NEEDS] = _edges(ran.needs)
    return TaskHash(writer.add_tree([_entry(writer, *named) for named in inputs.items()]))


def _edges(outputs: Mapping[TaskKey, OutputId]) -> dict[str, bytes]:
    return {key: f"{output.hex()}\n".encode() for key, output in outputs.items()}


def _entry(writer: ObjectWriter, name: str, content: bytes | Mapping[str, bytes]) -> Entry:
    """Write a text, or a folder of texts; return its entry."""
    own = os.fsencode(name)
    if isinstance(content, bytes):
        return Entry(own, MODE_FILE, writer.add("blob", content))
    below = [_entry(writer, *named) for named in content.items()]
    return Entry(own, MODE_DIRECTORY, writer.add_tree(below))


def run_command(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
    *,
    stdin: int | None = None,
) -> tuple[int, bytes]:
    """Run a command and pass on its output as it appears; return exit status and output.

    `stdin` is as in `subprocess.Popen`; by default, the command has this process's.
    """
    log = bytearray()
    try:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env=dict(environment),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise ProvError(
            f"cannot run {command[0]}: {error.strerror}",
            hint="check that the program is installed and executable",
        ) from error

    def keep(chunk: bytes) -> None:
        log.extend(chunk)
        passed(chunk)

    with process:
        status = follow(process, keep)
    return status if status >= 0 else 128 - status, bytes(log)
