"""Record runs of commands, with the same commits, tags and logs as tasks."""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from prov.records.entries import CHANGES, FROM, NEEDS, READS, WHOLE
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import encode_lines
from prov.records.lookup import Records, new_run
from prov.records.output import Output
from prov.records.refs import OutputRef, parse_run
from prov.records.run import Run, Start, author, write_run
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.worktree.attributes import EMPTY, Pair, nest
from prov.worktree.snapshot import Snapshot, remember
from prov.wrapped.builds import Member, PreviousStep, add_to_build, predecessor
from prov.wrapped.directory import Directory
from prov.wrapped.step import CommandRun, CommandStep, EndedRun, Ran


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
