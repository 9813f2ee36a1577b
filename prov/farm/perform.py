"""Perform an order at a worker: fetch it, run its task in a sandbox, push the result.

The worker has a store of its own. Each order runs in a new process.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from msgspec import structs

from prov.errors import BuildError, ProvError
from prov.farm.credentials import Credentials
from prov.farm.exchange import KeptOrders, WorkerExchange
from prov.farm.order import (
    FORMAT,
    WORKDIR,
    Assignment,
    Order,
    Receipt,
    decode,
    encode,
    read_order,
    write_result,
)
from prov.files import remove_tree
from prov.intake.intake import Intake
from prov.intake.wellformed import BadObject, Limits
from prov.records.entries import ATTRIBUTES, ENVIRONMENT, LOG, OUTPUT, READS, SYSROOT
from prov.records.ids import StaticKey
from prov.records.output import Output, write_output
from prov.records.record import read_run_record
from prov.records.run import author, empty_start, write_workdir
from prov.remote.receive import digests_of
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Taken, Workspace
from prov.tasks.paths import make_paths
from prov.tasks.recorded import (
    RecordedInputs,
    RecordedTask,
    make_node,
    own_inputs,
    taken_output,
    task_of,
)
from prov.tasks.taskhash import HashOnly
from prov.tasks.toolchain import Toolchains
from prov.worktree.attributes import EMPTY, Pair

ALIAS = "farm"
"""The name that separates a worker's WORKDIRs from those of builds in the same store."""
_SENT = {
    **dict.fromkeys((ATTRIBUTES, OUTPUT, SYSROOT), MODE_DIRECTORY),
    **dict.fromkeys((LOG, ENVIRONMENT, READS), MODE_FILE),
}
"""The parts of a run's record that a result contains -> their modes."""


class Workplace(Protocol):
    """A place where orders run: its store, its sandbox and its jobs."""

    @property
    def store(self) -> Store: ...

    @property
    def sandbox(self) -> str:
        """The path of bubblewrap."""

    @property
    def work(self) -> Path:
        """The folder of WORKDIRs."""

    @property
    def jobs(self) -> int: ...

    @property
    def offers_network(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Site:
    """A worker of a farm: its credentials, and the place where it runs orders."""

    credentials: Credentials
    store: Store
    sandbox: str
    work: Path
    environment: Mapping[str, str]
    jobs: int
    offers_network: bool = False
    most: int = 20 << 30
    """The size in bytes of its store's packs above which the worker deletes them."""

    def cleaned(self) -> Site:
        """Delete the store and the WORKDIRs if they are too large; return the site with its store.

        No order may be running.
        """
        if self.store.objects.size() <= self.most:
            return self
        for folder in (self.work, self.store.path):
            if folder.exists():
                remove_tree(folder)
        return replace(self, store=Store.create(self.store.path))


def perform(site: Site, message: bytes, makeflags: str, pass_fds: tuple[int, ...]) -> bytes:
    """Run the order of a signed assignment; return the signed receipt.

    Raises ProvError if the assignment is invalid.
    """
    body, _name = site.credentials.verify(message, "coordinator")
    assignment = decode(body, Assignment)
    try:
        return _perform(site, assignment, makeflags, pass_fds)
    except (ProvError, OSError, BadObject) as error:
        return site.credentials.sign(encode(unable(assignment.order, problem_of(error))))


def _perform(
    site: Site, assignment: Assignment, makeflags: str, pass_fds: tuple[int, ...]
) -> bytes:
    variables = {**site.environment, **site.credentials.git_variables()}
    exchange = WorkerExchange(site.store, assignment, variables)
    begun = time.monotonic()
    order, size = _fetch(site.store, exchange)
    fetched = time.monotonic() - begun
    parts, receipt = perform_order(site, assignment.order, order, makeflags, pass_fds)
    receipt = structs.replace(receipt, fetched=fetched, bytes_fetched=size)
    with site.store.objects.writer() as writer:
        # the duration of the push is known only after it, so the stored receipt lacks it
        signed = site.credentials.sign(encode(receipt))
        commit = write_result(writer, writer.add_tree(parts), signed)
    roots = [entry.oid for entry in parts if entry.name in (WORKDIR, OUTPUT)]
    KeptOrders(site.store).keep(commit, roots)
    begun = time.monotonic()
    exchange.push(commit)
    pushed = time.monotonic() - begun
    return site.credentials.sign(encode(structs.replace(receipt, pushed=pushed)))


def problem_of(error: Exception) -> str:
    """Return the text of an error, with its hint."""
    hint = f" ({error.hint})" if isinstance(error, ProvError) and error.hint else ""
    return f"{error}{hint}"


def _fetch(store: Store, exchange: WorkerExchange) -> tuple[Order, int]:
    """Copy an order into the store after all of its objects are validated.

    Returns it, and the number of transferred bytes.
    """
    kept = KeptOrders(store)
    known = kept.known()
    with exchange.fetch() as (source, size), store.objects.writer() as writer:
        intake = Intake(source, writer, digests_of(store.objects), Limits())
        intake.begin()
        intake.commit(exchange.order)
        order = read_order(intake.reader, writer.commit(exchange.order).tree)
        intake.check_pair(order.start)
        if order.tools not in known:
            intake.check_pair(Pair(order.tools, None))
        for output in {*order.needs.values()} - known:
            intake.check_output(output)
        writer.finish()
        intake.learn()
    kept.keep(exchange.order, order.roots())
    return order, size


def perform_order(
    place: Workplace, name: str, order: Order, makeflags: str, pass_fds: tuple[int, ...] = ()
) -> tuple[list[Entry], Receipt]:
    """Run the task of an order whose objects are in the place's store; `name` is its commit.

    Returns the parts of the result and an unsigned receipt. Raises ProvError if the task cannot be
    run here.
    """
    return _Performance(place, name, makeflags, pass_fds).run(order)


@dataclass(frozen=True, slots=True)
class _Performance:
    site: Workplace
    name: str
    makeflags: str
    pass_fds: tuple[int, ...]

    def run(self, order: Order) -> tuple[list[Entry], Receipt]:
        self._check(order)
        result = self._run_task(order)
        parts = self._parts(result)
        with self.site.store.objects.writer() as writer:
            tree = writer.add_tree(parts)
        return parts, self._receipt(result, tree)

    def _check(self, order: Order) -> None:
        """Raise BuildError if this machine cannot run the task."""
        facts = order.facts
        own = {
            "machine": os.uname().machine,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        }
        if facts.machine != own["machine"]:
            raise BuildError(f"{facts.task} needs {facts.machine}, this is {own['machine']}")
        if facts.python not in ("", own["python"]):
            raise BuildError(f"{facts.task} needs Python {facts.python}, this is {own['python']}")
        if facts.network and not self.site.offers_network:
            raise BuildError(f"{facts.task} needs a network, which this worker does not offer")

    def _run_task(self, order: Order) -> Result:
        """Run the task; the result has the task hash that this worker computed."""
        site, facts, objects = self.site, order.facts, self.site.store.objects
        task = task_of(objects, facts.key, facts.hash, order.definition)
        workspace = Workspace(
            store=site.store,
            inputs=RecordedInputs(objects, {task.key: task}),
            sysroots=sysroots_of(site.store, True),
            work=site.work,
            sandbox=site.sandbox,
            alias=ALIAS,
            keeps=False,
        )
        return run_task(workspace, self._job(workspace, order, task))

    def _job(self, workspace: Workspace, order: Order, task: RecordedTask) -> Job:
        site, facts, objects = self.site, order.facts, self.site.store.objects
        node = make_node(objects, task)
        own = own_inputs(objects, HashOnly(), task)
        needs = tuple(
            taken_output(task.definition, key, order.needs[key])
            for key in node.needs
            if key in order.needs
        )
        toolchains = Toolchains(site.store, "")
        paths = make_paths(workspace, toolchains, node, facts.chain, own.toolchain, needs)
        with objects.writer() as writer:
            empty = empty_start(writer).commit
            start = write_workdir(writer, order.start, empty, author(0), "start of an order")
            # outputs without files: the WORKDIR contains the files
            from_ = tuple(
                Taken(key, write_output(writer, Output(EMPTY, script)))
                for key, script in order.postprocess.items()
            )
        return Job(
            node=node,
            chain=facts.chain,
            own=own,
            edges=task.edge_ids(),
            static_key=StaticKey(b""),
            # an order must not grant access to folders of this machine
            task_paths=replace(paths, readable=()),
            from_=from_,
            needs=needs,
            jobs=site.jobs,
            makeflags=self.makeflags,
            pass_fds=self.pass_fds,
            force=True,
            plain=False,
            start=start,
            held=order.held,
        )

    def _parts(self, result: Result) -> list[Entry]:
        """Return the parts of a run's record that go into its result."""
        objects = self.site.store.objects
        objects.refresh()
        assert result.commit is not None
        record = read_run_record(objects, result.commit)
        tree = objects.commit(result.commit).tree
        own = [
            Entry(name, mode, record.parts[name])
            for name, mode in _SENT.items()
            if name in record.parts
        ]
        return [*own, Entry(WORKDIR, MODE_DIRECTORY, tree)]

    def _receipt(self, result: Result, parts: Oid) -> Receipt:
        objects = self.site.store.objects
        assert result.commit is not None
        facts = read_run_record(objects, result.commit).facts(objects)
        return Receipt(
            format=FORMAT,
            order=self.name,
            inputs=result.task_hash.hex(),
            status="failed" if result.status == "failed" else "ran",
            problem=_line(result.problem),
            parts=parts.hex(),
            host=socket.gethostname(),
            began=float(facts["began"]),
            seconds=float(facts["seconds"]),
            fetched=0.0,
            pushed=0.0,
            bytes_fetched=0,
            memory=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10,
            notes=[_line(note) for note in result.notes[:20]],
        )


def unable(order: str, problem: str) -> Receipt:
    """Return the receipt of a worker that could not run a task."""
    return Receipt(
        format=FORMAT,
        order=order,
        inputs="0" * 40,
        status="unable",
        problem=_line(problem),
        parts="",
        host=socket.gethostname(),
        began=time.time(),
        seconds=0.0,
        fetched=0.0,
        pushed=0.0,
        bytes_fetched=0,
        memory=0,
        notes=[],
    )


def _line(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())[:2000]
