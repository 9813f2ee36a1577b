"""Write a task's run: the task commit, its record, and the output's commit.

    task commit     tree: the WORKDIR after the task; first parent: the WORKDIR before it
      second parent: the record commit, with the tree
        inputs/       the tree whose id is the task hash
        output/       content/ and attributes/ of the task's output
        attributes/   attributes of the WORKDIR, which git's modes lack, such as mtimes
        sysroot/      target/ and native/, as seen by the task
        log, environment, record
        definition    data that a rerun needs and that is not hashed; only for recipes' tasks
        reads         what the task read (`prov.reads.reads`), if it was recorded

`prov.records.record` reads runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prov.records.entries import (
    ATTRIBUTES,
    DEFINITION,
    ENVIRONMENT,
    FACTS,
    INPUTS,
    LOG,
    OUTPUT,
    SYSROOT,
)
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import encode_lines
from prov.records.output import (
    OUTPUT_MESSAGE,
    Output,
    write_output,
    write_output_commit,
    write_pair,
)
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Identity,
    Oid,
)
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import EMPTY, Pair

START_MESSAGE = "nothing\n"


def author(seconds: float) -> Identity:
    """Return the author of a record: prov itself, because the user's name is private."""
    return Identity("prov", "prov@localhost", int(seconds))


@dataclass(frozen=True, slots=True)
class Start:
    """A WORKDIR before a task: its commit and its content."""

    commit: CommitId
    pair: Pair


def empty_start(writer: ObjectWriter) -> Start:
    """Return the constant start of a task without predecessors: an empty WORKDIR."""
    commit = writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, START_MESSAGE))
    return Start(CommitId(commit), EMPTY)


@dataclass(frozen=True, slots=True)
class Run:
    """The run of a task, to be recorded."""

    key: TaskKey
    task_hash: TaskHash
    start: Start
    after: Pair
    output: Output | None
    """None if the task failed."""
    log: bytes
    environment: Mapping[str, str]
    facts: Mapping[str, str]
    """Times, exit status, sandbox, host and other facts, one on each line of the record."""
    sysroots: Mapping[str, Pair] = field(default_factory=dict)
    definition: bytes = b""
    extra: Mapping[str, Pair | Oid | str] = field(default_factory=dict)
    """More entries of the record, by names not used above: directories, trees, texts."""


@dataclass(frozen=True, slots=True)
class RunIds:
    """The ids of a stored run."""

    commit: CommitId
    record: CommitId
    output: OutputId
    output_commit: CommitId


def write_run(writer: ObjectWriter, run: Run, by: Identity) -> RunIds:
    """Write a run's objects; the caller updates the refs."""
    output = write_output(writer, run.output or Output(EMPTY))
    entries = [*_own_entries(writer, run), *_extra_entries(writer, run)]
    if run.output is not None:
        entries.append(Entry(OUTPUT, MODE_DIRECTORY, output))
    record = writer.add_commit(Commit(writer.add_tree(entries), (), by, f"record of {run.key}\n"))
    status = "" if run.output is not None else " (failed)"
    message = f"{run.key}{status}\n\nTask-Hash: {run.task_hash.hex()}\n"
    commit = writer.add_commit(Commit(run.after.tree, (run.start.commit, record), by, message))
    output_message = run.output.message if run.output else OUTPUT_MESSAGE
    output_commit = write_output_commit(writer, output, output_message)
    return RunIds(CommitId(commit), CommitId(record), output, output_commit)


def _own_entries(writer: ObjectWriter, run: Run) -> Iterator[Entry]:
    facts = {"task": run.key, "task-hash": run.task_hash.hex(), **run.facts}
    yield Entry(INPUTS, MODE_DIRECTORY, run.task_hash)
    yield Entry(LOG, MODE_FILE, writer.add("blob", run.log))
    environment = encode_lines(run.environment, "=")
    yield Entry(ENVIRONMENT, MODE_FILE, writer.add("blob", environment))
    yield Entry(FACTS, MODE_FILE, writer.add("blob", encode_lines(facts, " ")))
    if run.definition:
        yield Entry(DEFINITION, MODE_FILE, writer.add("blob", run.definition))
    if run.after.attributes is not None:
        yield Entry(ATTRIBUTES, MODE_DIRECTORY, run.after.attributes)
    if run.sysroots:
        sysroots = [
            Entry(name.encode(), MODE_DIRECTORY, write_pair(writer, pair))
            for name, pair in run.sysroots.items()
        ]
        yield Entry(SYSROOT, MODE_DIRECTORY, writer.add_tree(sysroots))


def _extra_entries(writer: ObjectWriter, run: Run) -> Iterator[Entry]:
    for name, value in run.extra.items():
        if isinstance(value, str):
            text = value.encode("utf-8", "surrogateescape")
            yield Entry(name.encode(), MODE_FILE, writer.add("blob", text))
        elif isinstance(value, Pair):
            yield Entry(name.encode(), MODE_DIRECTORY, write_pair(writer, value))
        else:
            yield Entry(name.encode(), MODE_DIRECTORY, value)


def write_workdir(
    writer: ObjectWriter, pair: Pair, before: Oid, by: Identity, message: str
) -> CommitId:
    """Write a commit of manual changes to a directory, with its previous state as the parent."""
    entries = []
    if pair.attributes is not None:
        entries.append(Entry(ATTRIBUTES, MODE_DIRECTORY, pair.attributes))
    record = writer.add_commit(Commit(writer.add_tree(entries), (), by, "attributes\n"))
    return CommitId(writer.add_commit(Commit(pair.tree, (before, record), by, f"{message}\n")))
