"""Examine a worker's result, and record it in the store.

A result adds the WORKDIR, the output, the log, the reads and the times to a run. All else is in the
order, which the coordinator wrote: a worker cannot name the task, its hash or its definition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from prov.errors import ProvError
from prov.farm.credentials import Credentials
from prov.farm.exchange import Exchange
from prov.farm.order import (
    ORDER_MESSAGE,
    PARTS,
    RECEIPT,
    RESULT_MESSAGE,
    WORKDIR,
    Order,
    Receipt,
    decode,
    read_order,
)
from prov.files import locked
from prov.intake.intake import Intake
from prov.intake.source import Source
from prov.intake.wellformed import BadObject, Limits
from prov.records.entries import ATTRIBUTES, ENVIRONMENT, LOG, OUTPUT, READS, SYSROOT
from prov.records.ids import CommitId, OutputId
from prov.records.keyvalue import decode_lines
from prov.records.output import Output, read_fixed, read_pair, read_postprocess
from prov.records.refs import OutputRef
from prov.records.run import Run, RunIds, Start, author, write_run
from prov.records.run_refs import result_refs, run_tag
from prov.remote.receive import digests_of
from prov.sharing.admission import recorded_postprocess
from prov.store.objects import EMPTY_TREE, Oid
from prov.store.repository import Store
from prov.tasks.job import Result, Workspace
from prov.tasks.sandbox import HOSTTOOLS, place_text
from prov.worktree.attributes import Pair

LOG_TAIL = 20
_SYSROOTS = (b"target", b"native")


class Rejected(ProvError):
    """A worker's receipt or result is invalid."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A recorded result of an order."""

    result: Result
    receipt: Receipt
    worker: str
    is_first: bool
    """Whether the result became that of the task hash."""


def open_receipt(credentials: Credentials, order: CommitId, message: bytes) -> tuple[Receipt, str]:
    """Return a receipt of an order, and the worker's name. Raises ProvError."""
    body, worker = credentials.verify(message, "worker")
    receipt = decode(body, Receipt)
    if receipt.order != order.hex():
        raise Rejected(f"worker {worker} answered a different order")
    return receipt, worker


def accept_result(workspace: Workspace, *arguments: Any) -> Accepted:
    """Call `accept`, in a process of the coordinator."""
    return accept(workspace.store, *arguments)


def accept(
    store: Store, credentials: Credentials, exchange: Exchange, order: CommitId, replaces: bool
) -> Accepted:
    """Record the result of an order that a worker pushed.

    With `replaces`, its output replaces an existing one of the task hash. Raises ProvError if the
    result is missing or rejected.
    """
    commit = exchange.result(order)
    if commit is None:
        task = _read_own_order(store, order).facts.task
        raise Rejected(f"no worker pushed a result of {task}")
    arrival = Arrival(commit, exchange.source(), partial(open_receipt, credentials, order))
    return record(store, order, arrival, replaces=replaces)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A result that is not examined yet."""

    commit: CommitId
    source: Source
    open: Callable[[bytes], tuple[Receipt, str]]
    """Returns the receipt in a message and the worker's name. Raises ProvError."""


def record(store: Store, order: CommitId, arrival: Arrival, *, replaces: bool) -> Accepted:
    """Examine and record a result of an order; see `accept`. Raises ProvError."""
    read = _read_own_order(store, order)
    with store.objects.writer() as writer:
        intake = Intake(arrival.source, writer, digests_of(store.objects), Limits())
        intake.begin()
        try:
            receipt, worker, parts = _examine(intake, read, arrival)
            run = _run_of(intake, read, receipt, worker, parts)
        except (BadObject, RecursionError) as error:
            raise Rejected(f"rejected the result of {read.facts.task}: {error}") from error
        recorded = write_run(writer, run, author(receipt.began + receipt.seconds))
        if run.output is not None and recorded.output != parts[OUTPUT]:
            raise Rejected(f"worker {worker} sent an output that prov would write differently")
        writer.finish()
        intake.learn()
        number, is_first = _name(store, read, run, recorded, replaces=replaces)
        added = writer.total
    result = Result(
        key=run.key,
        status="ran" if run.output is not None else "failed",
        task_hash=run.task_hash,
        output=recorded.output if run.output is not None else None,
        commit=recorded.commit,
        number=number,
        script_seconds=receipt.seconds,
        added=added,
        problem=receipt.problem,
        notes=list(receipt.notes),
    )
    if receipt.problem:
        result.log_tail = run.log.decode("utf-8", "replace").splitlines()[-LOG_TAIL:]
    return Accepted(result, receipt, worker, is_first)


def _read_own_order(store: Store, order: CommitId) -> Order:
    """Return an order from the store. Raises ProvError if it is not there."""
    commit = store.objects.commit(order)
    if commit.message != ORDER_MESSAGE:
        raise Rejected(f"commit {order.hex()} is not an order")
    return read_order(store.objects, commit.tree)


def _examine(
    intake: Intake, order: Order, arrival: Arrival
) -> tuple[Receipt, str, dict[bytes, Oid]]:
    """Copy a result; return its receipt, the worker's name, and its parts.

    Raises BadObject for invalid objects, ProvError for an invalid receipt.
    """
    commit = arrival.commit
    intake.commit(commit)
    result = intake.writer.commit(commit)
    entries = {entry.name: entry.oid for entry in intake.read_tree(result.tree)}
    if result.message != RESULT_MESSAGE or entries.keys() != {PARTS, RECEIPT}:
        raise BadObject(f"commit {commit.hex()} is not a result")
    message = intake.read_blob(entries[RECEIPT])
    receipt, worker = arrival.open(message)
    if receipt.inputs != order.facts.task_hash:
        raise Rejected(f"worker {worker} ran {order.facts.task} with different inputs")
    if receipt.parts != entries[PARTS].hex() or receipt.status == "unable":
        raise Rejected(f"worker {worker} sent a result that its receipt does not name")
    return receipt, worker, intake.parts(entries[PARTS])


def _run_of(
    intake: Intake, order: Order, receipt: Receipt, worker: str, parts: dict[bytes, Oid]
) -> Run:
    """Return the run that an order and a result describe. Raises BadObject."""
    reader, facts = intake.reader, order.facts
    after = Pair(parts.get(WORKDIR, EMPTY_TREE), parts.get(ATTRIBUTES))
    intake.check_pair(after)
    sysroots = {}
    for entry in reader.tree(parts[SYSROOT]) if SYSROOT in parts else ():
        if entry.name not in _SYSROOTS:
            raise BadObject(f"a result has an invalid sysroot {entry.name!r}")
        intake.check_output(entry.oid)
        sysroots[entry.name.decode()] = read_pair(reader, entry.oid)
    output = None
    if receipt.status == "ran":
        if OUTPUT not in parts:
            raise BadObject("a result has no output")
        output = _output(intake, OutputId(parts[OUTPUT]), order)
    texts = {
        name: reader.blob(parts[name]) if name in parts else b""
        for name in (LOG, ENVIRONMENT, READS)
    }
    record = {
        "result": "ok" if output is not None else f"failed: {receipt.problem}",
        "began": f"{receipt.began:.3f}",
        "seconds": f"{receipt.seconds:.3f}",
        "sandbox": "bwrap",
        "host": receipt.host,
        "worker": worker,
        "peak-memory": str(receipt.memory),
        "workdir": facts.workdir,
        "seen-workdir": facts.seen_workdir,
        "outputdir": facts.outputdir,
    }
    if facts.static_key:
        record["static-key"] = facts.static_key
    return Run(
        facts.key,
        facts.hash,
        Start(CommitId(bytes.fromhex(facts.start)), order.start),
        after,
        output,
        texts[LOG],
        decode_lines(texts[ENVIRONMENT], "="),
        record,
        sysroots,
        order.definition,
        {READS.decode(): texts[READS].decode("ascii", "replace")} if READS in parts else {},
    )


def _output(intake: Intake, oid: OutputId, order: Order) -> Output:
    """Return an output after its validation. Raises BadObject."""
    intake.check_output(oid)
    reader = intake.reader
    script, fixed = read_postprocess(reader, oid), read_fixed(reader, oid)
    if script != recorded_postprocess(reader, order.facts.hash):
        raise BadObject("the output's postprocess script differs from the recipe's")
    if fixed not in (b"", place_text(order.facts.seen_workdir, HOSTTOOLS)):
        raise BadObject("the output is tied to paths that the task did not have")
    return Output(read_pair(reader, oid), script, fixed)


def _name(
    store: Store, order: Order, run: Run, recorded: RunIds, *, replaces: bool
) -> tuple[int, bool]:
    """Update the refs of a run in one transaction.

    Returns the run's number, and whether its output became that of the task hash.
    """
    with locked(store.cache / "locks" / "farm"):  # two results of one task may arrive at once
        tag = run_tag(store, run, recorded)
        exists = store.refs.get(str(OutputRef(run.key, run.task_hash))) is not None
        is_first = run.output is not None and (replaces or not exists)
        results = result_refs(run, recorded, order.facts.key_hash) if is_first else ()
        store.refs.update(tag, *results)
    return int(tag.name.rpartition("/")[2]), is_first
