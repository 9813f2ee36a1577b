"""Write the order of a task, in a process of the coordinator."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import time
from dataclasses import dataclass

from prov.farm.order import FORMAT, Facts, Order, write_order
from prov.records.ids import CommitId
from prov.records.lookup import Records
from prov.records.output import read_postprocess
from prov.store.objects import Oid
from prov.tasks.definition import define, read_definition
from prov.tasks.execution import held_inputs
from prov.tasks.job import Job, Result, Workspace
from prov.tasks.taskhash import output_paths, task_hash
from prov.tasks.workdir import Workdir


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order in the store."""

    commit: CommitId
    roots: tuple[Oid, ...]
    """Its large trees."""


def prepare(workspace: Workspace, job: Job) -> Prepared | Result:
    """Write the order of a job; return a result if a different process has run the task."""
    node = job.node
    with workspace.store.objects.writer() as writer:
        own = workspace.inputs.own(node, writer)
        oid = task_hash(writer, own, job.edges)
        records = Records(workspace.store, lambda _key: job.task_paths.place())
        output, (number, commit) = records.output(node.key, oid), records.last_run(node.key, oid)
        if not job.force and output is not None and commit is not None:
            return Result(node.key, "done by another", oid, output, commit, number)
        start = Workdir(workspace, node, job.chain, writer, own.capture).start(job)
        text = define(node, job.chain, own)
        scripts = {taken.key: read_postprocess(writer, taken.output) for taken in job.from_}
        order = Order(
            facts=Facts(
                format=FORMAT,
                nonce=secrets.token_hex(16),
                task=str(node.key),
                task_hash=oid.hex(),
                static_key=job.static_key.hex() if job.plain else "",
                start=start.commit.hex(),
                chain=job.chain,
                machine=os.uname().machine,
                python=_python(node.task.interpreter),
                network=node.task.network,
                workdir=str(workspace.workdir(node, job.chain)),
                seen_workdir=job.task_paths.seen_workdir,
                outputdir=shlex.join(map(os.fsdecode, output_paths(node.recipe, node))),
                time=time.time(),
            ),
            definition=text,
            start=start.pair,
            needs={taken.key: taken.output for taken in job.needs},
            postprocess={key: script for key, script in scripts.items() if script},
            tools=own.toolchain.tree,
            held=held_inputs(writer, job),
        )
        commit = write_order(writer, order, read_definition(text, node.key))
        return Prepared(commit, tuple(order.roots()))


def _python(interpreter: str) -> str:
    """Return the version of Python that a task needs; empty for a shell script."""
    return f"{sys.version_info.major}.{sys.version_info.minor}" if interpreter == "python3" else ""
