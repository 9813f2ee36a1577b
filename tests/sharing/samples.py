"""Minimal recorded and published results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.refs import OutputRef, RunRef
from prov.records.run import Run, RunIds, write_run
from prov.remote.publication import Published
from prov.sharing.results import Shareable
from prov.store.objects import MODE_FILE, Entry
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.records.samples import BY, COMPILE, oid, sample_run

FACTS = {
    "result": "ok",
    "seconds": "1.5",
    "host": "secret",
    "workdir": "/home/me/work",
    "sandbox": "bwrap",
    "seen-workdir": "/build/work",
}


def record_run(
    store: Store,
    *,
    facts: Mapping[str, str] | None = None,
    fixed: bytes = b"",
    message: str = "",
    key: TaskKey = COMPILE,
) -> tuple[Shareable, RunIds]:
    """Record a run with its output; return its result."""
    with store.objects.writer() as writer:
        run = replace(sample_run(writer, key), facts=facts or FACTS, definition=b"{}")
        run = replace(run, output=Output(run.after, fixed=fixed))
        ids = write_run(writer, run, BY)
        output_commit = _output_commit(writer, run, ids, message)
    store.refs.update(
        RefUpdate(str(RunRef(key, run.task_hash, 1)), ids.commit),
        RefUpdate(str(OutputRef(key, run.task_hash)), output_commit),
    )
    return Shareable(key, run.task_hash), ids


def _output_commit(writer: ObjectWriter, run: Run, ids: RunIds, message: str) -> CommitId:
    if not message:
        return ids.output_commit
    commit = writer.commit(ids.output_commit)
    return CommitId(writer.add_commit(replace(commit, message=message)))


def published(text: str = "", *, key: TaskKey = COMPILE, place: str = "") -> Published:
    """Return a published result without any of its objects in the store."""
    return Published(
        key,
        TaskHash(oid(f"hash {text}")),
        StaticKey(oid(f"static {text}")),
        OutputId(oid(f"output {text}")),
        oid(f"record {text}"),
        bytes(32),
        5,
        place,
    )


def text_entry(writer: ObjectWriter, name: str, text: str) -> Entry:
    """Write a text and return its entry in a tree."""
    return Entry(name.encode(), MODE_FILE, writer.add("blob", text.encode()))
