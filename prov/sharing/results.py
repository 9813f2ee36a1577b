"""Convert recorded results to publications, and fetched publications to recorded results.

The public part of a record is what anyone with the recipes can reproduce: inputs, output,
definition, and when and how the task ran. Log, environment, host and the WORKDIR's path are
published only with WORKDIRs, and WORKDIRs only on request.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from prov.errors import StoreError
from prov.intake.digest import Digests
from prov.progress import counted
from prov.records.build_list import BuildList
from prov.records.entries import (
    CHANGES,
    DATED,
    DEFINITION,
    FACTS,
    FIXED,
    INPUTS,
    LOG,
    OUTPUT,
    READS,
)
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.keyvalue import encode_lines
from prov.records.lookup import Records, last_number
from prov.records.output import FIXED_MESSAGE, OUTPUT_MESSAGE, UNSIGNED_MESSAGE
from prov.records.record import read_record, record_of
from prov.records.refs import (
    OUTPUTS,
    OutputRef,
    RunRef,
    StaticRef,
    parse_ref,
)
from prov.records.run import author
from prov.remote.publication import NO_KEY, Published
from prov.remote.receive import read_run
from prov.remote.trust import check_task
from prov.store.objects import CONSTANT_IDENTITY, MODE_FILE, Commit, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate, hash_in
from prov.store.repository import Store
from prov.transport.errors import Untrusted
from prov.wrapped.results import EARLIER, SHARES

PUBLIC = (INPUTS, OUTPUT, DATED, DEFINITION, FACTS)
"""Published entries of a record."""
PUBLIC_CHANGES = (READS, CHANGES, LOG)
"""Published entries of a record whose output is what the command changed (`--share`)."""
PUBLIC_FACTS = (
    *("task", "task-hash", "result", "began", "seconds", "sandbox", "seen-workdir", "outputdir"),
    *("static-key", "version", "bitbake-taskhash", "bitbake-unihash"),
    *("git-commit", "git-dirty", EARLIER, SHARES),
)
"""Published facts of a record."""


@dataclass(frozen=True, slots=True)
class Shareable:
    """A result to share: task, task hash and, if known, static key."""

    key: TaskKey
    task_hash: TaskHash
    static_key: StaticKey = NO_KEY


def place_id(text: bytes) -> str:
    """Return the id of the paths of an output; "" for an empty text, a relocatable output."""
    return hashlib.sha1(text).hexdigest() if text else ""


def recorded_results(store: Store) -> list[Shareable]:
    """Return all recorded results of a store."""
    refs = map(parse_ref, store.refs.list(OUTPUTS))
    return [Shareable(ref.key, ref.task_hash) for ref in refs if isinstance(ref, OutputRef)]


def results_of(build: BuildList) -> list[Shareable]:
    """Return the results that a build lists."""
    lines = (line for recipe in build.recipes() for line in build.lines(recipe).values())
    return [Shareable(line.key, line.task_hash) for line in lines if line.output is not None]


def offer(
    store: Store,
    writer: ObjectWriter,
    results: Sequence[Shareable],
    *,
    workdirs: bool = False,
    withheld: dict[str, str] | None = None,
) -> list[Published]:
    """Write the public records of shareable results; return their publications without digests.

    Adds the other results to `withheld`: task -> why it is not shared. Finish the writer before
    calling `add_digests`, which reads the objects.
    """
    offered = []
    for result in counted(results, "preparing results"):
        sharable = _to_share(store, result)
        if isinstance(sharable, str):
            if withheld is not None:
                withheld[result.key] = sharable
            continue
        commit, record, output = sharable
        facts = record_facts(store, CommitId(record))
        fixed = store.objects.entry(output, "fixed")
        static = hash_in(facts.get("static-key", "")) or result.static_key
        offered.append(
            Published(
                result.key,
                result.task_hash,
                StaticKey(static),
                OutputId(output),
                public_record(store, writer, CommitId(record)),
                bytes(32),
                0,
                place_id(store.objects.blob(fixed.oid)) if fixed else "",
                commit if workdirs and commit else b"",
                bytes(32) if workdirs and commit else b"",
            )
        )
    return offered


_INCREMENTAL = "built from an earlier WORKDIR (`--incremental`)"


def _last_was_incremental(store: Store, result: Shareable) -> bool:
    """Return whether the last run of a task hash was incremental: its output is not reused."""
    records = Records(store)
    _, commit = records.last_run(result.key, result.task_hash)
    return commit is not None and "incremental" in records.facts(commit)


def _to_share(store: Store, result: Shareable) -> tuple[Oid | None, Oid, Oid] | str:
    """Return task commit, record and output of a shareable result, or why it is not shareable."""
    output_commit = store.refs.get(str(OutputRef(result.key, result.task_hash)))
    if output_commit is None:
        return (
            _INCREMENTAL
            if _last_was_incremental(store, result)
            else "its output is no longer in the store"
        )
    held = store.objects.commit(output_commit)
    if held.message == UNSIGNED_MESSAGE:
        return "fetched from a remote without a signature"
    output = held.tree
    run = _run_with(store, result, OutputId(output))
    if run is None:
        return "the run that produced its output is no longer in the store"
    if not store.objects.exists(result.task_hash):
        return "its inputs are no longer in the store"
    commit, record = run
    facts = record_facts(store, CommitId(record))
    if "incremental" in facts:
        return _INCREMENTAL
    if "aside" in facts:
        return "run in a scratch directory"
    if facts.get("result") != "ok":
        return "failed"
    return commit, record, output


def add_digests(digests: Digests, offered: Iterable[Published]) -> list[Published]:
    """Return the offered results with sizes and SHA-256 ids."""
    complete = []
    for task in offered:
        workdir = digests.commit(task.workdir).id if task.workdir else b""
        record = digests.tree(task.record)
        complete.append(replace(task, digest=record.id, size=record.size, workdir_digest=workdir))
    digests.save()
    return complete


def _run_with(store: Store, result: Shareable, output: OutputId) -> tuple[Oid | None, Oid] | None:
    """Return task commit and record of the last run that produced an output; None if there is none.

    The task commit is None if the store does not have the WORKDIR.
    """
    for number in range(last_number(store, result.key, result.task_hash), 0, -1):
        run = RunRef(result.key, result.task_hash, number)
        commit = store.refs.get(str(run))
        record = store.refs.get(str(run.record))
        if commit is not None:
            record = record_of(store.objects, commit)
        if record is not None and read_record(store.objects, record).output == output:
            return commit, record
    return None


def record_facts(store: Store, record: CommitId) -> dict[str, str]:
    """Return the facts of a record; `record` is its commit."""
    return read_record(store.objects, record).facts(store.objects)


def public_record(store: Store, writer: ObjectWriter, record: CommitId) -> Oid:
    """Write the public part of a record; return its tree. A published record is unchanged."""
    parts = store.objects.tree(store.objects.commit(record).tree)
    facts = record_facts(store, record)
    names = {*PUBLIC, *(PUBLIC_CHANGES if SHARES in facts else ())} - {FACTS}
    entries = [part for part in parts if part.name in names]
    if facts.get("sandbox") == "none":
        facts.pop("seen-workdir", None)  # without a sandbox it is a path of this machine
    public = {name: facts[name] for name in PUBLIC_FACTS if name in facts}
    entries.append(Entry(FACTS, MODE_FILE, writer.add("blob", encode_lines(public, " "))))
    return writer.add_tree(entries)


def holds(store: Store, task: Published) -> bool:
    """Return whether the store has a published record completely."""
    commit = store.refs.get(str(OutputRef(task.key, task.task_hash)))
    return (
        commit is not None
        and store.objects.exists(task.record)
        and store.objects.exists(task.task_hash)
        and store.objects.commit(commit).tree == task.output
    )


def enter(
    store: Store,
    tasks: Iterable[Published],
    statics: Mapping[TaskKey, StaticKey] | None = None,
    *,
    unsigned: bool = False,
) -> None:
    """Create refs for fetched results, atomically; existing refs are unchanged.

    `statics` are the local static keys of tasks, which override the published ones. `unsigned`
    marks the outputs as unsigned.
    """
    updates = []
    with store.objects.writer() as writer:
        for task in tasks:
            static_key = (statics or {}).get(task.key, task.static_key)
            updates += list(_refs(store, writer, task, static_key, unsigned=unsigned))
    store.refs.update(*updates) if updates else None


def _has_run(store: Store, task: Published) -> bool:
    """Return whether the store has the WORKDIR's commit and its record is that of the task.

    The publisher may have published any commit as the WORKDIR.
    """
    try:
        check_task("", "", task, read_run(store.objects, task.workdir))
    except (StoreError, Untrusted):
        return False
    return True


def _refs(
    store: Store, writer: ObjectWriter, task: Published, static_key: StaticKey, *, unsigned: bool
) -> Iterable[RefUpdate]:
    message = OUTPUT_MESSAGE
    if unsigned:
        message = UNSIGNED_MESSAGE
    elif any(entry.name == FIXED for entry in store.objects.tree(task.output)):
        message = FIXED_MESSAGE
    commit = writer.add_commit(Commit(task.output, (), CONSTANT_IDENTITY, message))
    if static_key != NO_KEY and store.refs.get(str(StaticRef(task.key, static_key))) is None:
        yield RefUpdate(str(StaticRef(task.key, static_key)), commit)
    number = last_number(store, task.key, task.task_hash)
    run = RunRef(task.key, task.task_hash, number + 1)
    if task.workdir and _has_run(store, task):
        if store.refs.last_number(run.prefix) == 0:
            yield RefUpdate(str(run), task.workdir)
    elif number == 0:
        # dated now, so that retention rules treat it like a local run
        record = writer.add_commit(
            Commit(task.record, (), author(time.time()), f"record of {task.key}\n")
        )
        yield RefUpdate(str(run.record), record)
    name = str(OutputRef(task.key, task.task_hash))
    if store.refs.get(name) is None:  # last: this ref marks the result as present
        yield RefUpdate(name, commit)
